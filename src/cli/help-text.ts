import type { Argument, Command } from 'commander';

/** Width of help where there is no terminal: as commander has it. */
const COLUMNS = 80;

/** A text behind a command's help, no wider than the terminal: paragraphs between empty lines; one with indented lines stays as it is. */
export const helpText = (text: string) => (): string => {
  const paragraphs = text.trim().split('\n\n');
  const shown = paragraphs.map((each) =>
    each.includes('\n  ') ? each : wrapped(each, process.stdout.columns ?? COLUMNS),
  );
  return `\n${shown.join('\n\n')}`;
};

function wrapped(text: string, width: number): string {
  const lines = [''];
  for (const word of text.split(/\s/)) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.join('\n');
}

/** Room for a command and its arguments in a list of them; of longer ones the arguments are in their own help. */
const TERM_MAX = 30;

export function subcommandTerm(command: Command): string {
  const term = [command.name(), ...command.registeredArguments.map(argumentTerm)].join(' ');
  return term.length > TERM_MAX ? `${command.name()} …` : term;
}

function argumentTerm(argument: Argument): string {
  const text = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${text}>` : `[${text}]`;
}
