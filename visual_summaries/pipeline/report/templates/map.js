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
  const form = document.getElementById("find-points"), wanted = document.getElementById("wanted");
  const points = [...plot.querySelectorAll("a")].map((element) => ({
    element, name: element.getAttribute("aria-label").toLowerCase(), index: element.getAttribute("tabindex"),
  }));
  const find = () => {
    const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const { element, name, index } of points) {
      const hit = words.length > 0 && words.every((word) => name.includes(word));
      element.classList.toggle("wanted", hit);
      // Of many points only those that were asked for are on the way of the Tab key.
      if (index !== null) element.setAttribute("tabindex", hit ? "0" : index);
      found += hit;
    }
    plot.classList.toggle("finding", words.length > 0);
    const told = `${found.toLocaleString("en")} of ${points.length.toLocaleString("en")} summaries`;
    document.getElementById("wanted-told").textContent = words.length ? told : "";
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    plot.querySelector("a.wanted")?.focus();
  });
  wanted.addEventListener("input", find);
  plot.addEventListener("pointerover", show);
  plot.addEventListener("focusin", show);
});
