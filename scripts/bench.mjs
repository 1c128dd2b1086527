// The benchmark command: daemon and client on Node 26 if the set-up has put it into .cache/, else on this Node.
//   npm run bench -- block [--quick] [--json FILE] [--node PATH-OF-THE-DAEMON’S-NODE]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const node26 = '.cache/node26/bin/node';
const node = existsSync(node26) ? node26 : process.execPath;
if (node !== node26)
  console.error(`no ${node26} (node scripts/setup.mjs installs it): measuring on ${process.version}`);
const run = spawnSync(node, ['dist/src/cli/main.js', 'bench', ...process.argv.slice(2)], { stdio: 'inherit' });
process.exit(run.status ?? 1);
