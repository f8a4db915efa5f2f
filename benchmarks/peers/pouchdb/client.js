// Replicate: node client.js FOLDER URL ACT [FILE] with ACT fill (FILE has one document a line),
// push, pull, pull-through. Prints {"seconds", "docs"} of the replication alone, and "listed": the
// seconds until the first hundred documents were read as well.
const fs = require("fs");
const PouchDB = require("pouchdb");
const [folder, url, act, file] = process.argv.slice(2);
(async () => {
  const here = new PouchDB(folder + (act.startsWith("pull") ? "/" + act : "/local"));
  const batch = { batch_size: Number(process.env.BATCH || 500), batches_limit: 4 };
  if (act === "fill") {
    const docs = fs.readFileSync(file, "utf8").trim().split("\n").map(JSON.parse);
    for (let at = 0; at < docs.length; at += 1000) await here.bulkDocs(docs.slice(at, at + 1000));
    console.log(JSON.stringify({ docs: docs.length }));
    return;
  }
  const until = Date.now() + Number(process.env.PATIENCE_S || 600) * 1000;
  const begun = process.hrtime.bigint();
  let done = 0, wait = 100;
  for (;;) {
    try {
      const told = await (act.startsWith("pull") ? here.replicate.from(url, batch) : here.replicate.to(url, batch));
      done += told.docs_written;
      break;
    } catch (trouble) {
      if (Date.now() > until) { console.log(JSON.stringify({ seconds: null, docs: done })); process.exit(0); }
      await new Promise((go) => setTimeout(go, wait));
      wait = Math.min(wait * 2, 2000);
    }
  }
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  await here.allDocs({ include_docs: true, limit: 100 });
  const listed = Number(process.hrtime.bigint() - begun) / 1e9;
  console.log(JSON.stringify({ seconds, listed, docs: done }));
  process.exit(0);
})();
