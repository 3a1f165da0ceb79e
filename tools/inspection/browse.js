// The page of tools/browse.py: a paged list of records and a player.
"use strict";

const PAGE = 24; // records per page of the list
const ASK_AGAIN = 700; // milliseconds, while hole areas are being measured
const TINTS = { 255: [255, 0, 64, 170], 128: [255, 200, 0, 170] }; // hidden, hidden behind two layers

const at = (id) => document.getElementById(id);
const list = { rows: [], start: 0, found: 0, descending: false, asked: 0, timer: 0 };
const player = { row: null, frames: [], tints: [], depth: [], frame: 0, playing: false, holes: true, deep: false, last: 0 };

async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => { throw new Error("the server does not answer: is make inspect still running?"); });
  const fields = await answer.json().catch(() => ({ error: `the server answered with status ${answer.status}` }));
  if (!answer.ok) throw new Error(fields.error);
  return fields;
}

function percent(share) {
  return share === null ? "…" : `${(100 * share).toFixed(2)} %`;
}

// ---- the list ----

async function refresh() {
  clearTimeout(list.timer);
  const asked = ++list.asked;
  const query = new URLSearchParams({
    sort: at("sort").value, show: at("show").value, descending: list.descending, start: list.start, count: PAGE,
  });
  try {
    const page = await ask(`records?${query}`);
    if (asked !== list.asked) return; // another list was requested meanwhile
    if (list.start && list.start >= page.found) return turnTo(Math.max(0, page.found - 1));
    showList(page);
    if (page.measured < page.measurable) list.timer = setTimeout(refresh, ASK_AGAIN);
  } catch (error) {
    notify(error.message);
  }
}

function showList(page) {
  document.title = `Backfill: ${page.split}`;
  at("split").textContent = page.split;
  at("counts").textContent = `${plural(page.total, "record")}, ${page.excluded} excluded`;
  at("sort").querySelector("[value=loss]").disabled = !page.losses;
  at("sort").title = page.losses ? "" : "start with --model-dir FOLDER of a training to sort by its last losses";
  const measuring = at("sort").value === "holes" && page.measured < page.measurable;
  at("progress").textContent = page.failed ? "measuring hole areas failed: the terminal of make inspect shows the error"
    : measuring ? `measured ${page.measured} of ${page.measurable}` : "";
  at("place").textContent = page.found ? `${list.start + 1}–${Math.min(list.start + PAGE, page.found)} of ${page.found}` : "none";
  at("back").disabled = list.start === 0;
  at("forth").disabled = list.start + PAGE >= page.found;
  Object.assign(list, { rows: page.records, found: page.found, path: page.list });
  const focused = document.activeElement?.dataset?.number;
  at("list").replaceChildren(...(page.records.length ? page.records.map(card) : [text("p", "No records to show.")]));
  if (focused !== undefined) at("list").querySelector(`[data-number="${focused}"]`)?.focus();
  const fresh = page.records.find((row) => row.number === player.row?.number);
  if (fresh) showFacts(Object.assign(player.row, fresh));
  else if (!player.row && page.records.length) choose(page.records[0]);
}

const cards = new Map(); // by record, so that a refreshed list does not load its images again

function card(row) {
  const button = cards.get(row.number) ?? newCard(row);
  button.className = row.excluded ? "card excluded" : "card";
  button.setAttribute("aria-current", row.number === player.row?.number);
  const loss = row.losses.length ? `, loss ${mean(row.losses).toFixed(4)}` : "";
  button.lastChild.textContent = `${percent(row.holes)} holes${loss}`;
  button.onclick = () => choose(row);
  if (cards.size > 10 * PAGE) cards.clear();
  cards.set(row.number, button);
  return button;
}

function newCard(row) {
  const button = document.createElement("button");
  const image = new Image();
  image.alt = "";
  image.src = `records/${row.number}/thumbnail`;
  button.append(image, text("span", row.key), text("span", row.video), text("span", ""));
  button.title = row.key;
  button.dataset.number = row.number;
  return button;
}

function text(kind, words) {
  const element = document.createElement(kind);
  element.textContent = words;
  return element;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function mean(numbers) {
  return numbers.reduce((a, b) => a + b) / numbers.length;
}

async function turnTo(start) {
  list.start = start - (start % PAGE);
  await refresh();
}

async function step(by) {
  let index = list.rows.findIndex((row) => row.number === player.row?.number);
  index = index < 0 ? Math.min(player.index, list.rows.length - 1) : index + by;
  const place = list.start + index;
  if (place < 0 || place >= list.found) return;
  if (index < 0 || index >= list.rows.length) await turnTo(place);
  choose(list.rows[place - list.start]);
}

// ---- the player ----

async function choose(row) {
  if (!row) return;
  Object.assign(player, { row, frames: [], tints: [], depth: [], frame: 0, index: list.rows.indexOf(row) });
  for (const button of at("list").children) button.setAttribute("aria-current", button.dataset.number == row.number);
  at("list").querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
  at("key").textContent = row.key;
  at("fault").textContent = "";
  at("note").textContent = "loading …";
  at("screen").ariaBusy = true;
  showFacts(row);
  try {
    const record = await ask(`records/${row.number}`);
    const [frames, masks] = await Promise.all(["frame", "mask"].map((kind) => pictures(row, kind, record.frames)));
    if (player.row !== row) return; // another record was selected meanwhile
    Object.assign(player, { frames, tints: masks.map(tint) });
    Object.assign(row, { info: record.info, shard: record.shard });
    at("canvas").width = frames[0].naturalWidth;
    at("canvas").height = frames[0].naturalHeight;
    at("frame").max = frames.length - 1;
    at("note").textContent = "";
    at("screen").ariaBusy = false;
    showFacts(row);
    draw();
    if (player.deep) loadDepth();
  } catch (error) {
    if (player.row === row) showFault(error.message);
  }
}

function pictures(row, kind, count) {
  return Promise.all(Array.from({ length: count }, async (_, t) => {
    const image = new Image();
    image.src = `records/${row.number}/${kind}/${t}`;
    await image.decode().catch(() => { throw new Error(`${kind} ${t} of this record cannot be decoded`); });
    return image;
  }));
}

async function loadDepth() {
  const row = player.row;
  if (player.depth.length || !player.frames.length) return;
  at("note").textContent = "estimating depth …";
  try {
    const found = await ask(`records/${row.number}/depth`);
    const depth = await pictures(row, "depth", player.frames.length);
    if (player.row !== row) return;
    player.depth = depth;
    at("note").textContent = player.deep ? `Depth: ${found.text}.` : "";
    draw();
  } catch (error) {
    if (player.row === row) at("note").textContent = `No depth: ${error.message}`;
  }
}

function tint(mask) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [mask.naturalWidth, mask.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < image.data.length; i += 4) image.data.set(TINTS[image.data[i]] ?? [0, 0, 0, 0], i);
  context.putImageData(image, 0, 0);
  return canvas;
}

function draw() {
  if (!player.frames.length) return;
  const { width, height } = at("canvas");
  const context = at("canvas").getContext("2d");
  const shown = player.deep && player.depth.length ? player.depth : player.frames;
  context.drawImage(shown[player.frame], 0, 0, width, height);
  if (player.holes) context.drawImage(player.tints[player.frame], 0, 0);
  at("frame").value = player.frame;
  at("time").textContent = `${player.frame + 1} / ${player.frames.length}`;
}

function tick(now) {
  if (!player.playing) return;
  if (player.frames.length && now - player.last >= 1000 / at("speed").value) {
    player.last = now;
    seek(player.frame + 1);
  }
  requestAnimationFrame(tick);
}

function seek(frame) {
  player.frame = (frame + player.frames.length) % (player.frames.length || 1);
  draw();
}

function play() {
  player.playing = !player.playing;
  at("play").textContent = player.playing ? "❚❚ Pause" : "▶ Play";
  requestAnimationFrame(tick);
}

function toggleHoles() {
  at("holes").setAttribute("aria-pressed", player.holes = !player.holes);
  draw();
}

function toggleDepth() {
  at("depth").setAttribute("aria-pressed", player.deep = !player.deep);
  at("note").textContent = "";
  draw();
  if (player.deep) loadDepth();
}

function showFault(words) {
  at("screen").ariaBusy = false;
  at("note").textContent = "";
  at("fault").textContent = words;
}

function showFacts(row) {
  at("exclude").textContent = row.excluded ? "Include" : "Exclude";
  at("exclude").disabled = !list.path;
  at("exclude").title = list.path ? `Exclude this record from training, or include it again (x): ${list.path}`
    : "This split is read-only here: start with --exclude FILE, and train with the same flag";
  const facts = { "hole area": percent(row.holes), video: row.video };
  if (row.losses.length) facts["last losses"] = row.losses.map((loss) => loss.toFixed(4)).join(" → ");
  if (row.shard) facts.shard = row.shard;
  for (const [name, value] of Object.entries(row.info ?? {})) {
    if (!["video", "hole_share"].includes(name)) facts[name.replaceAll("_", " ")] = typeof value === "string" ? value : JSON.stringify(value);
  }
  at("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [text("dt", name), text("dd", value)]));
}

// ---- exclusion ----

async function exclude(row, excluded) {
  try {
    await ask("excluded", { method: "POST", body: JSON.stringify({ key: row.key, excluded }) });
    row.excluded = excluded;
    notify(`${row.key} is ${excluded ? "excluded from training" : "included again"}`, () => exclude(row, !excluded));
    if (player.row.number === row.number) showFacts(Object.assign(player.row, { excluded }));
    await refresh();
  } catch (error) {
    notify(error.message);
  }
}

function notify(words, undo) {
  const [span, button] = at("message").children;
  span.textContent = words;
  button.hidden = !undo;
  button.onclick = undo;
  at("message").hidden = false;
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => { at("message").hidden = true; }, 8000);
}

// ---- controls ----

const toggleExcluded = () => player.row && !at("exclude").disabled && exclude(player.row, !player.row.excluded);
const KEYS = {
  " ": play, h: toggleHoles, d: toggleDepth, x: toggleExcluded, ArrowLeft: () => step(-1), ArrowRight: () => step(1),
  ",": () => seek(player.frame - 1), ".": () => seek(player.frame + 1),
};

at("message").hidden = true;
at("play").onclick = play;
at("holes").onclick = toggleHoles;
at("depth").onclick = toggleDepth;
at("exclude").onclick = toggleExcluded;
at("back").onclick = () => turnTo(list.start - PAGE);
at("forth").onclick = () => turnTo(list.start + PAGE);
at("frame").oninput = () => seek(Number(at("frame").value));
at("frame").onchange = () => at("frame").blur(); // so that keys control the page again
for (const id of ["sort", "show"]) {
  at(id).onchange = () => {
    at(id).blur();
    turnTo(0);
  };
}
at("direction").onclick = () => {
  list.descending = !list.descending;
  at("direction").textContent = list.descending ? "↓" : "↑";
  at("direction").setAttribute("aria-pressed", list.descending);
  turnTo(0);
};
document.onkeydown = (event) => {
  const act = KEYS[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input")) return;
  event.preventDefault();
  act();
};
refresh();
