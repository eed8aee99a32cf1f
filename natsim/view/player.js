// The player's script: given the root element and the story (player_data.py), it shows one moment of the story at a
// time, and moves through it.  Time is the height in the ladder.  It asks nobody: no kernel, no network.
(function (root, story) {
  "use strict";
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const SVG = "http://www.w3.org/2000/svg";
  const AFTERGLOW = 14; // how long the end of a hop stays on the map, in the ladder's pixels
  const SPEED = 60; // pixels of the ladder in a second, at normal speed
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const ladder = find("ladder"), map = find("map"), slider = find("time"), clock = find("clock");
  const says = find("says"), play = find("play"), speed = find("speed");
  const marks = [...new Set([story.top, ...story.hops.flatMap((h) => [h.from, h.to]),
    ...story.bands.flatMap((b) => [b.from, b.to])])].sort((a, b) => a - b);
  const last = marks[marks.length - 1];
  const shapes = story.hops.map((_, index) => root.querySelectorAll(`[data-hop="${index}"]`));
  let now = last, running = null, chosen = null;

  // -- From heights to seconds ------------------------------------------------------------------------------------

  function secondsAt(y) {
    let before = story.clock[0];
    for (const mark of story.clock) {
      if (mark[0] >= y) {
        const share = mark[0] > before[0] ? (y - before[0]) / (mark[0] - before[0]) : 1;
        return before[1] + Math.max(0, share) * (mark[1] - before[1]);
      }
      before = mark;
    }
    return before[1];
  }

  // -- One moment -------------------------------------------------------------------------------------------------

  function show(y) {
    now = Math.min(Math.max(y, story.top), last);
    const when = secondsAt(now);
    slider.value = now;
    clock.textContent = `${when.toFixed(4)} s`;
    slider.setAttribute("aria-valuetext", clock.textContent);
    story.hops.forEach((hop, index) => {
      const state = hop.from > now ? "later" : hop.to >= now ? "now" : "past";
      shapes[index].forEach((shape) => {
        if (shape.dataset.state !== state) shape.dataset.state = state;
      });
    });
    head.setAttribute("y1", now);
    head.setAttribute("y2", now);
    drawMap();
    fillTables(when);
    if (chosen === null) say(latest());
    root.dataset.live = String(Math.round(now));
  }

  function newest(hop) {
    return hop.to <= now ? hop.to : hop.from;
  }

  function latest() {
    let found = null;
    for (const hop of story.hops) {
      if (hop.from > now) continue;
      if (found === null || newest(hop) >= newest(found)) found = hop;
    }
    return found;
  }

  function say(hop) {
    says.textContent = hop === null ? "Nothing has happened yet." : hop.to > now ? hop.leaves : hop.says;
    light(hop === null ? [] : [hop]);
  }

  function tell(packet) {
    const hops = story.hops.filter((hop) => hop.packet === packet);
    says.replaceChildren(...hops.map((hop) => {
      const line = document.createElement("div");
      line.textContent = hop.says;
      return line;
    }));
    light(hops);
  }

  function light(hops) {
    const rows = new Set(hops.map((hop) => hop.row).filter((row) => row !== null));
    root.querySelectorAll("tr[data-row]").forEach((line) => {
      line.classList.toggle("lit", rows.has(Number(line.dataset.row)));
    });
    const packets = new Set(chosen === null ? [] : hops.map((hop) => hop.packet));
    story.hops.forEach((hop, index) => shapes[index].forEach((shape) => {
      shape.classList.toggle("lit", packets.has(hop.packet));
    }));
  }

  // -- The map ----------------------------------------------------------------------------------------------------

  const layer = document.createElementNS(SVG, "g");
  map.querySelector("svg").append(layer);
  const head = document.createElementNS(SVG, "line");
  head.setAttribute("class", "playhead");
  head.setAttribute("x2", "100%");
  ladder.querySelector("svg").append(head);

  function along(way, share) {
    const lengths = way.slice(1).map((to, i) => Math.hypot(to[0] - way[i][0], to[1] - way[i][1]));
    let rest = share * lengths.reduce((a, b) => a + b, 0);
    for (let i = 0; i < lengths.length; i++) {
      if (rest <= lengths[i] || i === lengths.length - 1) {
        const part = lengths[i] ? Math.min(rest / lengths[i], 1) : 1;
        return way[i].map((from, axis) => from + part * (way[i + 1][axis] - from));
      }
      rest -= lengths[i];
    }
    return way[0];
  }

  function piece(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    layer.append(made);
  }

  function drawMap() {
    layer.replaceChildren();
    for (const band of story.bands) {
      if (band.from > now || band.to < now) continue;
      const points = band.way.map((point) => point.join(",")).join(" ");
      piece("polyline", { points, class: band.relayed ? "stream relayed" : "stream direct" });
      const [x, y] = along(band.way, 0.5);
      piece("text", { x, y: y - 12, class: "tag" }, band.says);
    }
    let lane = 0;
    const current = new Map(); // of each packet the hop that it is on
    for (const hop of story.hops) {
      if (hop.from <= now && hop.to + (hop.ends ? AFTERGLOW : 0) >= now) current.set(hop.packet, hop);
    }
    for (const hop of current.values()) {
      const share = hop.to > hop.from ? Math.min((now - hop.from) / (hop.to - hop.from), 1) : 1;
      const [x, y] = along(hop.way, share);
      const ended = hop.ends && now >= hop.to;
      const kind = ended ? "ended" : hop.relayed ? "relayed" : "direct";
      if (hop.relayed) piece("path", { d: `M${x} ${y - 7}l7 7l-7 7l-7-7z`, class: `packet ${kind}` });
      else piece("circle", { cx: x, cy: y, r: 6.5, class: `packet ${kind}` });
      if (ended) piece("path", { d: hop.lost ? `M${x - 7} ${y - 7}l14 14m0-14l-14 14` : `M${x - 8} ${y + 9}h12q5 0 5-5t-5-5h-4`, class: "cross" });
      piece("text", { x, y: y - 24 - 24 * (lane % 2), class: "tag" }, hop.label);
      piece("text", { x, y: y - 13 - 24 * (lane % 2), class: "tag addresses" }, hop.addresses);
      lane += 1;
    }
  }

  // -- The tables -------------------------------------------------------------------------------------------------

  function fillTables(when) {
    const lately = secondsAt(Math.max(now - AFTERGLOW, story.top));
    story.tables.forEach((table, index) => {
      const body = root.querySelectorAll("tbody[data-part=rows]")[index];
      const lines = [];
      for (const row of table.rows) {
        const looks = row.looks.filter((look) => look.at <= when);
        if (!looks.length || row.ended <= when) continue;
        const look = looks[looks.length - 1], first = row.looks[0];
        const line = document.createElement("tr");
        line.dataset.row = row.number;
        if (first.at >= lately) line.classList.add("fresh");
        look.cells.forEach((text) => line.append(cell(text)));
        line.append(life(look, when));
        lines.push(line);
      }
      if (!lines.length) {
        const line = document.createElement("tr"), empty = cell("no rows");
        empty.colSpan = story.columns.length + 1;
        empty.className = "empty";
        line.append(empty);
        lines.push(line);
      }
      body.replaceChildren(...lines);
    });
  }

  function cell(text) {
    const made = document.createElement("td");
    made.textContent = text;
    return made;
  }

  function life(look, when) {
    const left = look.until - when, made = cell(""), bar = document.createElement("progress");
    bar.max = Math.max(look.until - look.at, 0.001);
    bar.value = left;
    bar.setAttribute("aria-hidden", "true");
    made.append(bar, left >= 100 ? `${Math.round(left)} s` : `${left.toFixed(1)} s`);
    return made;
  }

  // -- Moving through it --------------------------------------------------------------------------------------------

  function go(y) {
    stop();
    chosen = null;
    show(y);
    follow();
  }

  function step(sign) {
    const beyond = sign > 0 ? marks.filter((y) => y > now + 0.05) : marks.filter((y) => y < now - 0.05);
    if (beyond.length) go(sign > 0 ? beyond[0] : beyond[beyond.length - 1]);
  }

  function follow() {
    const svg = ladder.querySelector("svg"), scale = svg.getBoundingClientRect().height / svg.viewBox.baseVal.height;
    ladder.scrollTop = now * scale - ladder.clientHeight * 0.6;
  }

  function start() {
    if (now >= last) show(story.top);
    chosen = null;
    let before = null, waited = 0;
    says.setAttribute("aria-live", "off");
    const frame = (stamp) => {
      const passed = before === null ? 0 : (stamp - before) / 1000;
      before = stamp;
      if (still) { // no gliding: from event to event
        waited += passed * Number(speed.value);
        if (waited >= 0.8) {
          waited = 0;
          show(marks.find((y) => y > now + 0.05) ?? last);
          follow();
        }
      } else {
        show(now + passed * SPEED * Number(speed.value));
        follow();
      }
      if (now >= last || !root.isConnected) stop();
      else running = requestAnimationFrame(frame);
    };
    running = requestAnimationFrame(frame);
    label();
  }

  function stop() {
    if (running !== null) cancelAnimationFrame(running);
    running = null;
    says.setAttribute("aria-live", "polite");
    label();
  }

  function label() {
    play.textContent = running === null ? "▶ Play" : "⏸ Pause";
    play.setAttribute("aria-label", running === null ? "Play" : "Pause");
  }

  function choose(packet) {
    stop();
    chosen = packet;
    if (packet === null) say(latest());
    else tell(packet);
  }

  function chooseNext(sign) {
    const packets = [...new Set(story.hops.map((hop) => hop.packet))];
    const at = chosen === null ? packets.indexOf((latest() ?? { packet: packets[0] }).packet) : packets.indexOf(chosen) + sign;
    const packet = packets[Math.min(Math.max(at, 0), packets.length - 1)];
    if (packet === undefined) return;
    show(Math.max(...story.hops.filter((hop) => hop.packet === packet).map((hop) => hop.to)));
    follow();
    choose(packet);
  }

  play.addEventListener("click", () => (running === null ? start() : stop()));
  find("first").addEventListener("click", () => go(story.top));
  find("back").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  find("last").addEventListener("click", () => go(last));
  slider.addEventListener("input", () => go(Number(slider.value)));
  ladder.addEventListener("mouseover", (event) => {
    const shape = event.target.closest("[data-hop]");
    if (shape && running === null) choose(story.hops[Number(shape.dataset.hop)].packet);
  });
  ladder.addEventListener("mouseleave", () => running === null && choose(null));
  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // a notebook has its own ideas of what keys mean
    const inside = event.target, typing = inside === speed;
    const keys = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => go(story.top), End: () => go(last),
      ArrowUp: () => chooseNext(-1), ArrowDown: () => chooseNext(1), Escape: () => choose(null),
      " ": () => inside !== play && !inside.matches("button") && (running === null ? start() : stop()),
    };
    if (typing || !(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (keys[event.key]() !== false) event.preventDefault();
  });

  slider.min = story.top;
  slider.max = last;
  slider.step = "any";
  find("controls").hidden = false;
  show(last);
  label();
})
