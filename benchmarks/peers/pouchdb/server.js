// A PouchDB server with express-pouchdb on real files: node server.js FOLDER PORT
const express = require("express");
const PouchDB = require("pouchdb");
const [folder, port] = process.argv.slice(2);
const Local = PouchDB.defaults({ prefix: folder + "/" });
const app = express();
app.use("/", require("express-pouchdb")(Local, { mode: "minimumForPouchDB", configPath: folder + "/config.json", logPath: folder + "/log.txt" }));
app.listen(Number(port), "127.0.0.1", () => console.log("ready"));
