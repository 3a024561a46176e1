"use strict";
addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("find"), field = document.getElementById("search");
  if (!form) return;
  const order = document.getElementById("order"), told = document.getElementById("told");
  const list = document.querySelector(".cards"), none = document.getElementById("no-match");
  const cards = [...list.children].map((element, place) => ({ element, place, text: element.dataset.search }));
  const number = (card, name) => (card.element.dataset[name] === undefined ? NaN : Number(card.element.dataset[name]));
  form.hidden = false;

  const compare = (name, sign) => (a, b) => {
    const [x, y] = [number(a, name), number(b, name)];
    // What has no figure comes last either way.
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.place - b.place;
    return sign * (x - y) || a.place - b.place;
  };
  let sorted = "";
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (order.value !== sorted) {
      const [name, direction] = order.value.split(" ");
      cards.sort(name === "place" ? (a, b) => a.place - b.place : compare(name, direction === "up" ? 1 : -1));
      list.append(...cards.map((card) => card.element));
      sorted = order.value;
    }
    let shown = 0;
    for (const card of cards) {
      const found = words.every((word) => card.text.includes(word));
      card.element.hidden = !found;
      shown += found;
    }
    none.hidden = shown > 0;
    told.textContent = `${shown.toLocaleString("en")} of ${cards.length.toLocaleString("en")} classes`;
    const state = new URLSearchParams();
    if (field.value) state.set("find", field.value);
    if (order.selectedIndex) state.set("order", order.value);
    try { history.replaceState(null, "", state.size ? `#${state}` : location.pathname); } catch { /* from a disk */ }
  };
  // From any page of the report, which know nothing of the other classes.
  const leap = () => {
    const there = cards.filter((card) => !card.element.hidden);
    const chosen = there[Math.floor(Math.random() * there.length)] ?? cards[0];
    location.replace(chosen.element.querySelector("a").href);
  };
  addEventListener("hashchange", () => location.hash === "#random" && leap());
  const asked = location.hash === "#random";
  const state = new URLSearchParams(asked ? "" : location.hash.slice(1));
  field.value = state.get("find") ?? "";
  if ([...order.options].some((option) => option.value === state.get("order"))) order.value = state.get("order");
  field.addEventListener("input", show);
  order.addEventListener("change", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("li:not([hidden]) a")?.focus();
  });
  show();
  if (asked) leap();

  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== field) {
      event.preventDefault();
      field.focus();
      field.select();
    } else if (event.key === "Escape" && document.activeElement === field) {
      field.value = "";
      show();
    }
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: "up", ArrowDown: "down" };
    const step = steps[event.key];
    const current = document.activeElement?.closest?.(".card");
    if (!step || !current || event.ctrlKey || event.metaKey || event.altKey) return;
    const visible = cards.map((card) => card.element).filter((element) => !element.hidden);
    const top = visible[0].offsetTop;
    const columns = Math.max(1, visible.findIndex((element) => element.offsetTop > top));
    const move = step === "up" ? -columns : step === "down" ? columns : step;
    const next = visible[visible.indexOf(current) + move];
    if (next) {
      event.preventDefault();
      next.querySelector("a").focus();
    }
  });
});
