// The result as files: the page holds the JSON and the CSV that were written beside it, compressed.

const save = (blob, name, beside) => {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  // Inside the dialog, while it is open: nothing else may be clicked.
  beside.after(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
};

const unpack = async (text, type) => {
  const packed = new Blob([Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0))]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  return new Blob([await new Response(stream).arrayBuffer()], { type });
};

if (byId("downloads") && "DecompressionStream" in window) {
  byId("downloads").hidden = false;
  for (const button of document.querySelectorAll("[data-file]")) {
    const file = byId(button.dataset.file);
    button.addEventListener("click", async () => {
      save(await unpack(file.textContent, file.dataset.type), file.dataset.name, button);
    });
  }
}
