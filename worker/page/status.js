// Keeps the page up to date by server-sent events. Without it the page is whole; it only stands still.
"use strict";
{
  const MOST = 200; // stories in the list, as the server has them
  const SAY_EVERY_MS = 20000; // to screen readers
  const AGAIN_MS = 10000;
  const { boot, newest, query } = document.body.dataset;
  const said = document.getElementById("said");
  const pause = document.getElementById("pause");
  const list = document.getElementById("story-list");
  let last = `${boot}.${newest}`;
  let source = null;
  let timer = 0;
  let paused = false;
  let arrived = 0;
  let saidAt = 0;

  const parsed = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html; // made and escaped by the server; the content security policy lets nothing run
    return template.content;
  };
  const say = (text) => { if (said.textContent !== text) said.textContent = text; };

  const onPart = (event) => {
    const { id, html } = JSON.parse(event.data);
    const part = document.getElementById(id);
    if (part && part.dataset.shown !== html) {
      part.dataset.shown = html;
      part.replaceChildren(parsed(html));
    }
  };
  const onStories = (event) => {
    const { html, count, left, all } = JSON.parse(event.data);
    last = event.lastEventId;
    const fresh = parsed(html);
    if (all) list.replaceChildren(fresh);
    else {
      for (const item of fresh.children) item.classList.add("fresh");
      if (left) {
        const gap = document.createElement("li");
        gap.className = "gap";
        gap.textContent = `${left} more came in between; reload the page for the last ${MOST}.`;
        fresh.append(gap);
      }
      list.prepend(fresh);
    }
    while (list.children.length > MOST) list.lastElementChild.remove();
    document.getElementById("no-stories").hidden = list.children.length > 0;
    arrived += count;
    if (arrived && Date.now() - saidAt > SAY_EVERY_MS) {
      say(`Live: ${arrived} new ${arrived === 1 ? "story" : "stories"}`);
      arrived = 0;
      saidAt = Date.now();
    }
  };
  const close = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const open = () => {
    close();
    source = new EventSource(`/events?${query}${query ? "&" : ""}after=${encodeURIComponent(last)}`);
    source.addEventListener("part", onPart);
    source.addEventListener("stories", onStories);
    source.onopen = () => say("Live");
    source.onerror = () => {
      say("Not connected: what is shown stands still");
      if (source && source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    };
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume updates" : "Pause updates";
    if (paused) { close(); say("Paused"); } else open();
  });
  // A page that nobody sees takes no listener's place from one that somebody does.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (!paused) open();
  });
  addEventListener("pagehide", close);
  if (!document.hidden) open();
}
