// The agent's pages: each answer is sent the moment it is given; the reply patches what changed.
"use strict";
const csrf = document.querySelector("meta[name=csrf]").content;
const by = (id) => document.getElementById(id);

document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submit]")) event.target.form.submit();
});

async function call(path, body) {
  const form = body instanceof FormData;
  const reply = await fetch(path, {
    method: "POST",
    headers: form ? { "X-CSRF": csrf } : { "X-CSRF": csrf, "Content-Type": "application/json" },
    body: form ? body : JSON.stringify(body),
  });
  const told = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(told.trouble || reply.status), { told: true });
  return told;
}

const sheet = by("items");
if (sheet) {
  const base = sheet.dataset.entry;
  const saved = by("saved");
  let line = Promise.resolve();
  let waiting = 0;
  const typing = new Map();
  // When each question was turned to, for the audit log of forms that ask for one.
  const turned = new Map();
  sheet.addEventListener("focusin", (event) => {
    const item = event.target.closest(".item");
    if (item) turned.set(item.id, performance.now());
  });

  // One at a time and in order: what follows from an answer depends on those before it.
  const send = (path, make) => {
    waiting += 1;
    saved.textContent = sheet.dataset.saving;
    line = line.then(async () => {
      for (let pause = 500; ; pause = Math.min(pause * 2, 8000)) {
        try {
          const told = await call(base + path, make());
          waiting -= 1;
          if (told.done) { location.href = "/"; return; }
          patch(told);
          if (!waiting && !told.first) saved.textContent = sheet.dataset.saved;
          if (!waiting) sheet.dataset.idle = String(performance.now());
          return;
        } catch (trouble) {
          if (trouble.told) { waiting -= 1; saved.textContent = trouble.message; return; }
          saved.textContent = sheet.dataset.unsaved;
          await new Promise((go) => setTimeout(go, pause));
        }
      }
    });
  };

  const patch = (told) => {
    const active = document.activeElement;
    const focus = active && active.id;
    const wanted = new Set(told.order);
    for (const node of [...sheet.children]) if (!wanted.has(node.id)) node.remove();
    let before = null;
    for (const id of told.order) {
      let node = by(id);
      if (told.html[id] !== undefined) {
        const made = document.createElement("template");
        made.innerHTML = told.html[id].trim();
        const fresh = made.content.firstElementChild;
        if (node && node.contains(active) && active.matches("input:not([type=radio],[type=checkbox],[type=file]),textarea") && !told.first) {
          // Somebody is typing here: only what is said about it changes.
          const [was, is] = [node.querySelector(".fault"), fresh.querySelector(".fault")];
          if (was && is) was.replaceWith(is);
          if (is && is.textContent) active.setAttribute("aria-invalid", "true");
          else active.removeAttribute("aria-invalid");
        } else {
          const chosen = node && node.contains(active) && active.value;
          if (node) node.replaceWith(fresh); else sheet.insertBefore(fresh, before ? before.nextSibling : sheet.firstChild);
          node = fresh;
          if (chosen) {
            const again = (focus && by(focus)) || node.querySelector(`[value="${CSS.escape(chosen)}"]`);
            if (again) again.focus({ preventScroll: true });
          }
        }
      }
      const place = before ? before.nextSibling : sheet.firstChild;
      if (node !== place) sheet.insertBefore(node, place);
      before = node;
    }
    if (told.first) {
      saved.textContent = `${told.count} ${sheet.dataset.faults}`;
      const first = by(told.first);
      if (first) {
        first.scrollIntoView({ block: "center" });
        const at = first.querySelector("input,select,textarea,button");
        if (at) at.focus();
      }
    }
  };

  const value = (item, input) => {
    if (input.type === "checkbox" && input.name) {
      const order = (item.dataset.order || "").split(" ").filter(Boolean);
      const checked = [...item.querySelectorAll("input:checked")].map((one) => one.value);
      const kept = [...order.filter((one) => checked.includes(one)), ...checked.filter((one) => !order.includes(one))];
      item.dataset.order = kept.join(" ");
      return kept.join(" ");
    }
    if (input.type === "checkbox") return input.checked ? input.value : "";
    return input.value;
  };

  const give = (input) => {
    const item = input.closest(".item");
    clearTimeout(typing.get(item.id));
    typing.delete(item.id);
    const now = performance.now();
    const held = Math.round(now - (turned.get(item.id) || now));
    turned.set(item.id, now);
    const told = { ref: item.dataset.ref, value: value(item, input), held };
    send("/answer", () => told);
  };

  sheet.addEventListener("change", (event) => {
    const input = event.target;
    if (input.type === "file") {
      if (!input.files.length) return;
      const body = new FormData();
      body.append("ref", input.closest(".item").dataset.ref);
      body.append("file", input.files[0]);
      send("/file", () => body);
    } else give(input);
  });
  sheet.addEventListener("input", (event) => {
    const input = event.target;
    if (!input.matches("textarea,input:not([type=radio],[type=checkbox],[type=file],[type=date])")) return;
    const id = input.closest(".item").id;
    clearTimeout(typing.get(id));
    typing.set(id, setTimeout(() => give(input), 400));
  });
  sheet.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const item = button.closest(".item");
    const ref = item.dataset.ref;
    if ("add" in button.dataset) send("/repeat", () => ({ ref }));
    if ("remove" in button.dataset) send("/repeat", () => ({ ref, remove: "1" }));
    if ("drop" in button.dataset) {
      const body = new FormData();
      body.append("ref", ref);
      send("/file", () => body);
    }
    if ("place" in button.dataset && navigator.geolocation) {
      navigator.geolocation.getCurrentPosition(({ coords }) => {
        const input = item.querySelector("input");
        input.value = [coords.latitude, coords.longitude, coords.altitude || 0, coords.accuracy || 0].join(" ");
        give(input);
      }, (trouble) => { saved.textContent = trouble.message; });
    }
  });
  by("finish").addEventListener("click", () => {
    for (const [id, timer] of typing) { clearTimeout(timer); const input = by(id) && by(id).querySelector("input,textarea"); if (input) give(input); }
    send("/finish", () => ({}));
  });
}

const sync = by("sync");
if (sync) {
  const bar = by("bar"), says = by("sync-says");
  const follow = async () => {
    const told = await (await fetch("/sync")).json();
    bar.hidden = !told.running;
    if (told.bytes_all) bar.value = told.bytes / told.bytes_all;
    if (told.running) {
      const left = told.left_s ? `, ${Math.round(told.left_s)} s` : "";
      says.textContent = told.doing ? `${told.records}/${told.records_all}${left} ${told.note || ""}` : "…";
      setTimeout(follow, 400);
      return;
    }
    sync.disabled = false;
    if (told.trouble) says.textContent = told.trouble;
    else if (told.synced !== undefined) {
      says.textContent = told.synced ? says.dataset.done : says.dataset.notAll;
      setTimeout(() => location.reload(), 1200);
    }
  };
  sync.addEventListener("click", async () => {
    sync.disabled = true;
    try { await call("/sync", {}); follow(); } catch (trouble) { says.textContent = trouble.message; sync.disabled = false; }
  });
  if (sync.dataset.running) { sync.disabled = true; follow(); }
}
