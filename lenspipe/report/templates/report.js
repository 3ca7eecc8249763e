"use strict";
// Sorting, filtering and looking closer. Without scripts the page is complete, in order of rank.
(() => {
  const grid = document.getElementById("grid"), controls = document.getElementById("controls");
  if (!grid || !controls) return;
  const cards = [...grid.children];
  const get = (id) => document.getElementById(id);
  const sort = get("sort"), least = get("least"), find = get("find"), rings = get("rings"), shown = get("shown");
  const words = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
  const number = (card, key) => (card.dataset[key] === "" ? -Infinity : Number(card.dataset[key]));
  const byRank = (a, b) => number(a, "rank") - number(b, "rank");
  const orders = {
    rank: byRank,
    theta: (a, b) => (number(b, "theta") - number(a, "theta")) || byRank(a, b),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name) || byRank(a, b),
  };
  const visible = () => [...grid.children].filter((card) => !card.hidden);

  function update() {
    const bound = least.value === "" ? -Infinity : Number(least.value);
    const asked = find.value.trim().toLowerCase();
    for (const card of cards) {
      const below = bound > -Infinity && !(number(card, "score") >= bound);
      card.hidden = below || !words.get(card).includes(asked);
    }
    grid.append(...cards.sort(orders[sort.value]));
    const n = visible().length;
    shown.textContent = n === cards.length ? `${n} shown` : `${n} of ${cards.length} shown`;
  }

  const viewer = get("viewer"), viewed = get("viewed");
  let current = null;
  function show(card) {
    if (!card) return;
    current = card;
    viewed.replaceChildren(card.cloneNode(true));
    if (!viewer.open) viewer.showModal();
  }
  function step(by) {
    const list = visible();
    show(list[(list.indexOf(current) + by + list.length) % list.length]);
  }
  grid.addEventListener("click", (event) => {
    if (event.target.closest(".stamp, .open")) show(event.target.closest(".card"));
  });
  get("before").addEventListener("click", () => step(-1));
  get("after").addEventListener("click", () => step(1));
  get("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  controls.addEventListener("submit", (event) => event.preventDefault());
  for (const control of [sort, least, find]) control.addEventListener("input", update);
  rings.addEventListener("input", () => document.body.classList.toggle("rings", rings.checked));
  controls.hidden = false;
  update();
})();
