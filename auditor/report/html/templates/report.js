// The page as a whole: what opens a case, and what is printed.

document.documentElement.classList.add("scripted");

document.addEventListener("click", (event) => {
  const row = event.target.closest("[data-row]");
  if (!row) return;
  const link = event.target.closest("a");
  if (link && !("open" in link.dataset)) return;
  if (!link && String(window.getSelection())) return;
  event.preventDefault();
  caseView.open(Number(row.dataset.row));
});

const openFromAddress = () => {
  const found = /^#case-(\d+)$/.exec(window.location.hash);
  if (found) caseView.open(Number(found[1]) - 1);
};
window.addEventListener("hashchange", openFromAddress);
// The sound and the pictures of the cases follow the script.
document.addEventListener("DOMContentLoaded", openFromAddress);

byId("print").hidden = false;
byId("print").addEventListener("click", () => window.print());
const unfolded = [];
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll(".certificate details:not([open])")) {
    fold.open = true;
    unfolded.push(fold);
  }
  for (const one of document.querySelectorAll("article[data-case]")) {
    const { kind, note, decided } = decisions.of(data.pairs[one.dataset.case]);
    put(one, "printed", [kindName(kind) || "none yet", kind && decided, note].filter(Boolean).join(", "));
  }
});
window.addEventListener("afterprint", () => {
  for (const fold of unfolded.splice(0)) fold.open = false;
});
