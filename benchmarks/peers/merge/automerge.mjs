// Automerge on the histories that `benchmarks/merge.py` sends: one JSON object per run on stdin
// ({histories: [[{device, pull, sets}]], rounds}), one JSON object of figures and outcomes on stdout.
import * as Automerge from "@automerge/automerge";

const { histories, rounds } = JSON.parse(await new Response(process.stdin).text());

function play(history) {
  const docs = new Map();
  let server = Automerge.init({ actor: "ff".repeat(16) });
  const changes = [];
  for (const step of history) {
    let doc = docs.get(step.device);
    if (!doc) {
      doc = Automerge.init({ actor: (step.device + 1).toString(16).padStart(32, "0") });
    }
    if (step.pull) doc = Automerge.merge(doc, server);
    doc = Automerge.change(doc, { time: 0 }, (draft) => {
      for (const [path, value] of Object.entries(step.sets)) {
        draft[path] = new Automerge.ImmutableString(value);
      }
    });
    changes.push(Automerge.getLastLocalChange(doc));
    docs.set(step.device, doc);
    server = Automerge.merge(server, doc);
  }
  return { server, changes };
}

// The processor's time and not the wall's, as on our side.
function spent_ms() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const text = (value) => (value === null ? null : String(value));

function outcome(doc) {
  const live = {};
  for (const path of Object.keys(doc)) {
    const all = Automerge.getConflicts(doc, path);
    const values = all ? Object.values(all).map(text) : [text(doc[path])];
    live[path] = [...new Set(values)].sort();
  }
  return live;
}

const played = histories.map(play);
const folds = [];
for (let round = 0; round < rounds; round++) {
  for (const { changes } of played) {
    const started = spent_ms();
    const [doc] = Automerge.applyChanges(Automerge.init(), changes);
    let read = 0;
    for (const path of Object.keys(doc)) read += text(doc[path]).length;
    folds.push(spent_ms() - started);
    if (!read) throw new Error("nothing was read");
  }
}

let merges = 0;
let merging_ms = 0;
for (const { changes } of played) {
  const half = Math.floor(changes.length / 2);
  const [one] = Automerge.applyChanges(Automerge.init(), changes.slice(0, half + 1));
  const [other] = Automerge.applyChanges(Automerge.init(), changes);
  const started = spent_ms();
  Automerge.merge(Automerge.clone(one), other);
  merging_ms += spent_ms() - started;
  merges += 1;
}

const creating = spent_ms();
for (const { changes } of played) {
  const [doc] = Automerge.applyChanges(Automerge.init(), changes.slice(0, 1));
  let read = 0;
  for (const path of Object.keys(doc)) read += text(doc[path]).length;
  if (!read) throw new Error("nothing was read");
}
const creating_ms = spent_ms() - creating;

console.log(
  JSON.stringify({
    folds_ms: folds,
    merges_s: merges / (merging_ms / 1000),
    creates_s: played.length / (creating_ms / 1000),
    edit_bytes: played.flatMap(({ changes }) => changes.slice(1).map((each) => each.length)),
    live: played.map(({ server }) => outcome(server)),
  }),
);
