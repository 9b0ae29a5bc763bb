
"use strict";
(() => {
  const players = [...document.querySelectorAll("audio")];
  for (const player of players) {
    player.addEventListener("play", () => {
      for (const other of players) if (other !== player) other.pause();
    });
    player.addEventListener("error", () => {
      player.parentElement.querySelector(".unplayable").hidden = false;
    });
  }
})();
