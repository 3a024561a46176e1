"use strict";
addEventListener("DOMContentLoaded", () => {
  const plot = document.querySelector(".map svg"), told = document.getElementById("pointed");
  if (!plot) return;
  let last;
  const show = (event) => {
    const point = event.target.closest("a");
    if (!point || point === last) return;
    last = point;
    const picture = document.createElement("img"), words = document.createElement("p");
    picture.src = point.getAttribute("href").replace(/\.html$/, "-01.webp");
    picture.width = picture.height = 224;
    picture.alt = `Exemplar of ${point.getAttribute("aria-label")}`;
    words.textContent = `${point.getAttribute("aria-label")}. ${point.dataset.near || ""}`;
    told.replaceChildren(picture, words);
  };
  plot.addEventListener("pointerover", show);
  plot.addEventListener("focusin", show);
});
