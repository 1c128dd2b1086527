import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { Interrupted, interruptible } from '../demo/interruption.js';
import { DEPTH_MAX, type DemoOptions, GUESTS_MAX, SECONDS_MAX } from '../demo/plan.js';

type Options = DemoOptions & { readonly vm?: boolean };

export const demoCommand = new Command('demo')
  .description(
    'Show in half a minute what a sidecore does, on this machine: built-in guests, verified load, a comparison.',
  )
  .option('--seconds <n>', 'length of each of the three runs', whole(1, SECONDS_MAX), 8)
  .option('--guests <n>', 'number of guests', whole(1, GUESTS_MAX), 4)
  .option('--depth <n>', 'requests that each guest has in flight', whole(1, DEPTH_MAX), 4)
  .option('--cpu <n>', 'CPU of the sidecore (default: the last one allowed)', whole(0, 1023))
  .option('--scratch <folder>', 'where images and sockets go, in a folder of their own', path, tmpdir())
  .option('--report <file>', 'where the report goes', path, resolve('sidecore-demo-report.html'))
  .option('--keep', 'leave the scratch folder', false)
  .option('--json', 'print one JSON document instead', false)
  .option('--vm', 'boot a real Linux guest instead (QEMU; needs a checkout of the repository)')
  .action(async ({ vm, ...options }: Options) => {
    try {
      process.exitCode = await interruptible(async (signal) => {
        if (!vm) return (await import('../demo/demo.js')).runDemo(options, signal);
        return (await import('../demo/vm.js')).runVm(options, signal);
      });
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      process.stderr.write(
        `\nsidecore demo: interrupted; the daemon is stopped${options.keep ? '' : ', the scratch folder removed'}\n`,
      );
      // What was waited for may go on for a while: a guest that boots, a connection that is made.
      process.exit(error.status);
    }
  });

/** Reads a path; commander's second argument is not for `resolve`. */
function path(text: string): string {
  return resolve(text);
}

/** Reads a whole number between two bounds. */
function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Write a whole number from ${least} to ${most}.`);
  };
}
