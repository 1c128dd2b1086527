#!/usr/bin/env node
import { Command } from 'commander';
import { version } from '../daemon/version.js';
import { SidecoreError } from '../errors.js';
import { serveCommand } from './serve.js';
import { statusCommand } from './status.js';
import { resizeCommand } from './resize.js';

const program = new Command('sidecore')
  .description('Serves virtual disks to virtual machines over vhost-user, from a few dedicated cores.')
  .version(version)
  .addCommand(serveCommand)
  .addCommand(statusCommand)
  .addCommand(resizeCommand)
  .showHelpAfterError('(--help lists the options)');

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof SidecoreError)) throw error;
  process.stderr.write(`sidecore: ${error.line}\n`);
  process.exitCode = 1;
}
