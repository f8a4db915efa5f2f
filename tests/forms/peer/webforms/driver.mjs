// ODK Web Forms' engine, driven by its public client interface in Node with jsdom: cases in, the
// whole state after each step out, a line each, as `python -m forms replay` has it.
//
//     node driver.mjs MODULES CASES.jsonl OUT.jsonl
//
// MODULES is the folder whose node_modules hold @getodk/xforms-engine and jsdom.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [modules, asked, told] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const { JSDOM } = require('jsdom');
const { window } = new JSDOM('', { url: 'http://localhost/' });
for (const name of Object.getOwnPropertyNames(window)) {
	if (/^[A-Z]/.test(name) && !(name in globalThis)) globalThis[name] = window[name];
}
Object.assign(globalThis, { window, document: window.document, File: window.File, Blob: window.Blob, FormData: window.FormData });
const home = require.resolve('@getodk/xforms-engine').replace(/dist\/.*$/, 'dist/index.js');
// Its parser reads a file where it finds itself in Node; in a browser it has all it needs with it.
const node = globalThis.process;
delete globalThis.process;
const { loadForm } = await import(pathToFileURL(home).href);
globalThis.process = node;

const text = (range) => range?.asString ?? '';
const question = new Set(['input', 'note', 'select', 'trigger', 'range', 'rank', 'upload']);

function* within(node) {
	yield node;
	for (const kid of node.currentState.children ?? []) yield* within(kid);
}

function shown(node) {
	const state = node.currentState;
	const told = { ref: state.reference, rel: state.relevant, ro: state.readonly, req: state.required };
	if (!state.children?.length) told.value = String(state.instanceValue ?? '');
	const broken = node.validationState?.violation;
	told.violation = broken?.condition ?? null;
	if (question.has(node.nodeType)) {
		told.label = text(state.label);
		if (state.hint) told.hint = text(state.hint);
		if (state.valueOptions) told.choices = state.valueOptions.map((one) => [one.value, text(one.label)]);
	}
	return told;
}

function state(root) {
	const nodes = [];
	for (const node of within(root)) {
		if (!node.nodeType.startsWith('repeat-range')) nodes.push(shown(node));
	}
	return { nodes, xml: root.instanceState.instanceXML };
}

function found(root, ref, kinds) {
	for (const node of within(root)) {
		if (node.currentState.reference === ref && kinds(node.nodeType)) return node;
	}
	throw new Error(`nothing at ${ref}`);
}

function answer(root, ref, value) {
	const node = found(root, ref, (kind) => question.has(kind));
	switch (node.nodeType) {
		case 'select':
			if (node.selectType === 'select1') return node.selectValue(value || null);
			return node.selectValues(value.split(/\s+/).filter(Boolean));
		case 'rank':
			return node.setValues(value.split(/\s+/).filter(Boolean));
		case 'trigger':
			return node.setValue(value === 'OK');
		case 'input':
		case 'range':
			return node.setValue(value);
		default:
			throw new Error(`${ref} takes no answer`);
	}
}

async function step(one, run) {
	const root = () => run.instance.root;
	switch (one.op) {
		case 'init':
			run.form = await loadForm(run.case.form, {
				fetchFormAttachment: async (url) => {
					const body = run.case.attachments?.[String(url)];
					return new Response(body ?? '', { status: body == null ? 404 : 200 });
				},
				missingResourceBehavior: 'BLANK',
			});
			if (run.form.status === 'failure') throw run.form.error;
			run.instance = run.form.createInstance({ preloadProperties: run.case.options?.properties ?? {} });
			return;
		case 'set':
			return void answer(root(), one.ref, String(one.value ?? ''));
		case 'add_repeat':
			return void found(root(), one.ref, (kind) => kind.startsWith('repeat-range')).addInstances();
		case 'remove_repeat': {
			const [, ref, place] = /^(.*)\[(\d+)\]$/.exec(one.ref);
			return void found(root(), ref, (kind) => kind.startsWith('repeat-range')).removeInstances(Number(place) - 1, 1);
		}
		case 'language': {
			const language = root().languages.find((each) => each.language === one.value);
			if (!language) throw new Error(`no language ${one.value}`);
			return void root().setLanguage(language);
		}
		case 'save_restore': {
			const payload = await root().prepareInstancePayload();
			run.instance = await run.form.restoreInstance(payload);
			return;
		}
		default:
			throw new Error(`unsupported op ${one.op}`);
	}
}

async function played(given) {
	const run = { case: given };
	const steps = [];
	for (const one of given.steps) {
		try {
			await step(one, run);
			const now = state(run.instance.root);
			const [first] = run.instance.root.validationState.violations;
			const code = { required: 1, constraint: 2 }[first?.violation.condition];
			const validate = first ? { ref: first.reference, code } : null;
			steps.push({ op: one.op, state: now, xml: now.xml, validate });
		} catch (fault) {
			steps.push({ op: one.op, error: `${fault?.name}: ${fault?.message}`.slice(0, 500) });
			if (one.op === 'init') break;
		}
	}
	return { id: given.id, steps };
}

const lines = [];
for (const line of readFileSync(asked, 'utf8').split('\n')) {
	if (line) lines.push(JSON.stringify(await played(JSON.parse(line))));
}
writeFileSync(told, lines.map((line) => `${line}\n`).join(''));
process.exit(0);
