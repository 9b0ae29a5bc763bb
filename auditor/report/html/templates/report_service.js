// A page that a service has served: decisions go to it at once, and count only once it has them.

if (data.service) {
  const keep = decisions.set;
  const said = (text) => put(byId("decision-bar"), "where", text);
  decisions.set = async (pair, kind, note) => {
    if (!pair.id) { said("This pair has no id, so it cannot be decided here."); return; }
    const body = JSON.stringify({ kind, note: kind === "undo" ? "" : note, by: names[0].value.trim() });
    try {
      const answer = await fetch(`/v1/pairs/${pair.id}/decision`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body,
      });
      if (!answer.ok) throw new Error((await answer.json()).detail || `answered ${answer.status}`);
      keep(pair, kind, note);
      said(`Stored: pair ${pair.id}, ${kindName(kind)}.`);
    } catch (error) {
      said(`Pair ${pair.id} was not decided: ${error.message}`);
    }
    decisions.changed();
  };
}
