#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { version } from '../daemon/version.js';
import { SidecoreError } from '../errors.js';
import { benchCommand } from './bench.js';
import { checkCommand } from './check.js';
import { demoCommand } from './demo.js';
import { resizeCommand } from './resize.js';
import { serveCommand } from './serve.js';
import { statusCommand } from './status.js';
import { vmArgsCommand } from './vm-args.js';

const program = new Command('sidecore')
  .description('Serves virtual disks to virtual machines over vhost-user, from a few dedicated cores.')
  .version(version)
  .addCommand(serveCommand)
  .addCommand(checkCommand)
  .addCommand(vmArgsCommand)
  .addCommand(statusCommand)
  .addCommand(resizeCommand)
  .addCommand(benchCommand)
  .addCommand(demoCommand)
  .addHelpText(
    'afterAll',
    '\nExit codes: 0 good, 1 a problem (said on stderr; `check` says it on stdout), 2 wrong usage.',
  )
  .showHelpAfterError('(--help lists the options)')
  .exitOverride();

// Commands that were made elsewhere do not inherit by themselves.
for (const command of program.commands) command.copyInheritedSettings(program);

// Whoever reads us may stop in the middle (`| head`): that is the end, and no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = 1;
  // Commander has printed what was wrong; help and version end here too.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof SidecoreError) process.stderr.write(`sidecore: ${error.line}\n`);
  else throw error;
}
