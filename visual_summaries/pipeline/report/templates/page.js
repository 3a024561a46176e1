"use strict";
(() => {
  const root = document.documentElement;
  // Some browsers keep no storage for pages from a disk; then the choice lasts as long as the page.
  const stored = (value) => {
    try {
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch { return null; }
  };
  const system = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const chosen = stored();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;

  addEventListener("DOMContentLoaded", () => {
    const theme = document.getElementById("theme"), keys = document.getElementById("keys");
    const list = document.getElementById("key-list");
    const name = () => {
      const dark = (root.dataset.theme || system()) === "dark";
      theme.textContent = dark ? "Light" : "Dark";
      theme.setAttribute("aria-label", dark ? "Light colors" : "Dark colors");
    };
    const turn = () => {
      root.dataset.theme = (root.dataset.theme || system()) === "dark" ? "light" : "dark";
      stored(root.dataset.theme);
      name();
    };
    const fold = () => {
      list.hidden = !list.hidden;
      keys.setAttribute("aria-expanded", String(!list.hidden));
    };
    const random = document.getElementById("random"), jump = document.getElementById("jump");
    const home = document.querySelector("a.home"), field = jump?.querySelector("input");
    if (random) random.hidden = false;
    if (jump) {
      jump.hidden = false;
      jump.addEventListener("submit", (event) => {
        event.preventDefault();
        location.assign(`${home.href.split("#")[0]}#${new URLSearchParams({ find: field.value })}`);
      });
    }
    theme.hidden = keys.hidden = false;
    name();
    theme.addEventListener("click", turn);
    keys.addEventListener("click", fold);
    addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const follow = (relation) => document.querySelector(`a[rel="${relation}"]`)?.click();
      const actions = { n: () => follow("next"), p: () => follow("prev"), u: () => follow("up"), d: turn, "?": fold };
      if (random) actions.r = () => random.click();
      if (field) actions["/"] = () => field.select();
      if (Object.hasOwn(actions, event.key)) {
        event.preventDefault();
        actions[event.key]();
      }
    });
  });
})();
