#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { version } from '../daemon/version.js';
import { MORE_DESCRIPTORS, SidecoreError } from '../errors.js';
import { helpText, subcommandTerm } from './help-text.js';

/** Whether the command answers in JSON; `bench --json` names a file. */
let json = false;

// Whoever reads us may stop in the middle (`| head`): that is the end, and no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

try {
  await (await createProgram()).parseAsync();
} catch (error) {
  process.exitCode = 1;
  // Commander has printed what was wrong; help and version end here too.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else process.stderr.write(json ? `${errorJson(known(error))}\n` : `sidecore: ${known(error).line}\n`);
}

/** Loads all commands: here, where it may fail, for a few hundred files are opened. */
async function createProgram(): Promise<Command> {
  const [{ serveCommand }, { checkCommand }, { vmArgsCommand }, { statusCommand }, ...others] = await Promise.all([
    import('./serve.js'),
    import('./check.js'),
    import('./vm-args.js'),
    import('./status.js'),
    import('./resize.js'),
    import('./link.js'),
    import('./filter.js'),
    import('./capture.js'),
    import('./trace.js'),
    import('./bench.js'),
    import('./demo.js'),
    import('./sim.js'),
    import('./luks.js'),
    import('./snapshot.js'),
    import('./overlay.js'),
  ]);
  const [
    { resizeCommand },
    { linkCommand },
    { filterCommand },
    { captureCommand },
    { traceCommand },
    { benchCommand },
    { demoCommand },
    { simCommand },
    { luksCommand },
    { snapshotCommand },
    { overlayCommand },
  ] = others;
  const program = new Command('sidecore')
    .description(
      'Serves virtual disks and network cards to virtual machines over vhost-user, from a few dedicated cores.',
    )
    .version(version)
    .addCommand(serveCommand)
    .addCommand(checkCommand)
    .addCommand(vmArgsCommand)
    .addCommand(statusCommand)
    .addCommand(resizeCommand)
    .addCommand(linkCommand)
    .addCommand(filterCommand)
    .addCommand(snapshotCommand)
    .addCommand(overlayCommand)
    .addCommand(captureCommand)
    .addCommand(traceCommand)
    .addCommand(benchCommand)
    .addCommand(demoCommand)
    .addCommand(simCommand)
    .addCommand(luksCommand)
    // Commander's own shows everything where it does not know the command.
    .helpCommand(false)
    .addCommand(helpCommand())
    .addHelpText(
      'afterAll',
      helpText('\nExit codes: 0 good, 1 a problem (on stderr; `check`: on stdout), 2 wrong usage.'),
    )
    .configureHelp({ subcommandTerm })
    .showHelpAfterError('(--help lists the options)')
    .exitOverride()
    .hook('preAction', (_program, command) => {
      json = command.opts()['json'] === true;
    });
  // Commands that were made elsewhere do not inherit by themselves.
  inheritSettings(program);
  return program;
}

function inheritSettings(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent);
    inheritSettings(command);
  }
}

function helpCommand(): Command {
  return new Command('help')
    .description('Show what a command takes.')
    .argument('[command]', 'which one')
    .action((name: string | undefined, _options, help: Command) => {
      const program = help.parent!;
      if (name === undefined) return program.help();
      const command = program.commands.find((candidate) => candidate.name() === name);
      return command === undefined ? program.error(`error: unknown command '${name}'`) : command.help();
    });
}

/** What an operator is told of an error. Throws one of which we know nothing. */
function known(error: unknown): SidecoreError {
  if (error instanceof SidecoreError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== 'EMFILE' && code !== 'ENFILE') throw error;
  return new SidecoreError('SYSTEM_CALL_FAILED', message, MORE_DESCRIPTORS);
}

function errorJson({ code, message, remedy }: SidecoreError): string {
  return JSON.stringify({ code, message, remedy });
}
