import type { Figures } from './figures.js';
import { checkLine, guestTable, historyLine, runTitle, talkLine, type View, workLine } from './live-table.js';
import { bar, micros, percent, perRequest, whole } from './numbers.js';
import { RUNS, type RunPlan } from './plan.js';
import type { RunFigures, RunProgress, RunResult } from './run.js';
import { LiveLines } from './screen.js';
import { cutTo, PLAIN, type Style, styleFor, wrap } from './style.js';

/** How the demo is shown while it runs. */
export interface Show {
  readonly style: Style;
  readonly width: number;
  /** Lines of text, below everything so far. */
  say(...lines: string[]): void;
  runStarts(number: number, plan: RunPlan): void;
  progress(progress: RunProgress): void;
  runEnds(result: RunResult): void;
  /** Leaves the terminal as it was. */
  end(): void;
}

export interface ShowOptions {
  readonly coreCpu: number;
  /** Of a run. */
  readonly seconds: number;
}

/** The show that suits where the output goes. */
export function showFor(stream: NodeJS.WriteStream, options: ShowOptions): Show {
  return stream.isTTY && process.env['TERM'] !== 'dumb'
    ? new TerminalShow(stream, options)
    : new LineShow(stream, options);
}

/** Width of text where the output is no terminal, characters. */
const TEXT_WIDTH = 80;
/** Wider lines are hard to read. */
const TEXT_WIDTH_MAX = 100;
const PROGRESS_CHARS = 10;
/** Lines around the guests' own. */
const FRAME_LINES = 9;

/** On a terminal: a table that is drawn again in place. */
class TerminalShow implements Show {
  readonly style: Style;
  readonly #stream: NodeJS.WriteStream;
  readonly #options: ShowOptions;
  readonly #live: LiveLines;
  readonly #onResize: () => void;
  #number = 0;

  constructor(stream: NodeJS.WriteStream, options: ShowOptions) {
    this.#stream = stream;
    this.#options = options;
    this.style = styleFor(stream);
    this.#live = new LiveLines((text) => stream.write(text));
    // What was drawn may be wrapped now: the next drawing starts below it.
    this.#onResize = () => this.#live.leave();
    stream.on('resize', this.#onResize);
  }

  get width(): number {
    return Math.min(TEXT_WIDTH_MAX, this.#stream.columns || TEXT_WIDTH);
  }

  say(...lines: string[]): void {
    this.#live.leave();
    this.#stream.write(lines.map((line) => `${line}\n`).join(''));
  }

  runStarts(number: number, plan: RunPlan): void {
    this.#number = number;
    this.#live.leave();
    this.#draw(plan, 'starting', []);
  }

  progress(progress: RunProgress): void {
    const { plan, elapsedSeconds, all, history } = progress;
    const { seconds } = this.#options;
    const share = elapsedSeconds / seconds;
    const clock = `${bar(share, PROGRESS_CHARS)} ${Math.min(seconds, Math.floor(elapsedSeconds))}/${seconds} s`;
    this.#draw(plan, clock, [
      ...this.#body(progress, plan),
      checkLine(all, this),
      talkLine(progress.talk, this),
      historyLine(history, this.#view()),
    ]);
  }

  runEnds(result: RunResult): void {
    const { plan, all, seconds, history } = result;
    this.#draw(plan, `${seconds.toFixed(1)} s in all`, [
      ...this.#body(result, plan),
      checkLine(all, this),
      talkLine(result.talk, this),
      historyLine(history, this.#view()),
      '',
    ]);
    this.#live.leave();
  }

  end(): void {
    this.#stream.off('resize', this.#onResize);
    this.#live.end();
  }

  #view(): View {
    return { width: this.width, height: Math.max(3, (this.#stream.rows || 24) - FRAME_LINES), style: this.style };
  }

  #body(figures: RunFigures, plan: RunPlan): string[] {
    return [
      ...guestTable(figures, this.#view()),
      workLine(figures.work_share, this.#options.coreCpu, plan.mode === 'baseline', this),
    ];
  }

  #draw(plan: RunPlan, clock: string, lines: readonly string[]): void {
    const title = `${this.style.bold(runTitle(this.#number, RUNS.length, plan))}  ${this.style.accent(clock)}`;
    this.#live.draw([title, ...lines].map((line) => cutTo(line, this.width)));
  }
}

/** Elsewhere: a line a second, and the table when a run is over. */
class LineShow implements Show {
  readonly style = PLAIN;
  readonly width = TEXT_WIDTH;
  readonly #stream: NodeJS.WritableStream;
  readonly #options: ShowOptions;
  #saidSecond = 0;

  constructor(stream: NodeJS.WritableStream, options: ShowOptions) {
    this.#stream = stream;
    this.#options = options;
  }

  say(...lines: string[]): void {
    this.#stream.write(lines.map((line) => `${line}\n`).join(''));
  }

  runStarts(number: number, plan: RunPlan): void {
    this.#saidSecond = 0;
    this.say(runTitle(number, RUNS.length, plan));
  }

  progress({ elapsedSeconds, all, work_share }: RunProgress): void {
    const second = Math.floor(elapsedSeconds);
    if (second <= this.#saidSecond) return;
    this.#saidSecond = second;
    this.say(
      `${String(second).padStart(4)} s  ${figuresLine(all)}, ${work_share === null ? '-' : percent(work_share)} work`,
    );
  }

  runEnds(result: RunResult): void {
    const view = { width: this.width, height: Number.POSITIVE_INFINITY, style: this.style };
    const work = workLine(result.work_share, this.#options.coreCpu, result.plan.mode === 'baseline', this);
    this.say(...guestTable(result, view), work, checkLine(result.all, this), talkLine(result.talk, this), '');
  }

  end(): void {}
}

/** All guests' figures in few words. */
function figuresLine({ iops, p50_us, p99_us, kicks_per_request, calls_per_request }: Figures): string {
  const latency = `p50 ${micros(p50_us)} µs, p99 ${micros(p99_us)} µs`;
  return `${whole(iops)} IOPS, ${latency}, ${perRequest(kicks_per_request)} kicks/req, ${perRequest(calls_per_request)} calls/req`;
}

/** Nothing: for output that a program reads. */
export class SilentShow implements Show {
  readonly style = PLAIN;
  readonly width = TEXT_WIDTH;
  say(): void {}
  runStarts(): void {}
  progress(): void {}
  runEnds(): void {}
  end(): void {}
}

/** Text in the width of a show. */
export function paragraph(show: Show, text: string, indent = ''): string[] {
  return wrap(text, show.width - indent.length).map((line) => `${indent}${line}`);
}
