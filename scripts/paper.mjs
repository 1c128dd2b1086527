// The paper's evaluation, on Node 26 if the set-up has put it into .cache/, else on this Node.
//   npm run paper -- [--quick] [--only 1,3] [--vm] [--tcg] [--out FOLDER] [--json FILE] [--seed N] [--help]
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

const node26 = '.cache/node26/bin/node';
const node = existsSync(node26) ? node26 : process.execPath;
if (node !== node26)
  console.error(`no ${node26} (node scripts/setup.mjs installs it): measuring on ${process.version}`);
const child = spawn(node, ['dist/bench/paper/main.js', ...process.argv.slice(2)], { stdio: 'inherit' });
// It ends what it has started, and this waits for it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.once('exit', (code) => process.exit(code ?? 1));
