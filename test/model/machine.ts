/**
 * All runs of two threads that share memory, and sleep and wake each other. The threads are plain synchronous code: what each does
 * next depends only on the values that it has read, so it is run again and again, each time one value further, and what it does is
 * remembered by what it has read.
 *
 * Memory is that of x86 (TSO): each thread's stores go through a buffer of its own, first in first out, before the other sees them;
 * its own loads see them at once. A fence waits until the buffer is empty. Orders that only weaker machines have are not among these.
 */

/** Cells are 16-bit words. */
export interface Port {
  load(cell: number, cells: number): number;
  store(cell: number, cells: number, value: number): void;
  fence(): void;
  /** Writes an event counter: a system call, which is a fence too. */
  signal(line: number): void;
  /** Sleeps until the counter is not zero, and empties it. */
  wait(line: number): void;
  /** Any number below `count`: what time, or chance, decides. */
  choose(count: number): number;
}

/** What a thread does. What is before `begin` happens before the other thread is there, and is the same each time. */
export type Program = (port: Port, begin: () => void) => void;

type Step =
  | { readonly kind: 'load'; readonly cell: number; readonly cells: number }
  | { readonly kind: 'fence' }
  | { readonly kind: 'signal' | 'wait'; readonly line: number }
  | { readonly kind: 'choose'; readonly count: number }
  | { readonly kind: 'end' };

interface Store {
  readonly cell: number;
  readonly cells: number;
  readonly value: number;
}

/** A thread somewhere on its way. */
interface Node {
  readonly number: number;
  /** Stores on the way here from the node before. */
  readonly stores: readonly Store[];
  readonly step: Step;
  /** What it has read on the way. */
  readonly values: readonly number[];
  readonly next: Map<number, Node>;
}

/** Where a thread is stopped because what it reads next is not known yet. */
class Stop extends Error {}

const MASK = 0xffff;

class Thread {
  readonly root: Node;
  readonly #program: Program;
  readonly #image: Uint16Array;
  #nodes = 0;

  constructor(program: Program, image: Uint16Array) {
    this.#program = program;
    this.#image = image;
    this.root = this.#run([]);
  }

  /** Where it comes to from a node, if it reads that. */
  after(node: Node, value: number): Node {
    let next = node.next.get(value);
    if (next === undefined) {
      next = this.#run([...node.values, value]);
      node.next.set(value, next);
    }
    return next;
  }

  #run(values: readonly number[]): Node {
    let at = 0;
    let begun = false;
    let stores: Store[] = [];
    let step: Step = { kind: 'end' };
    const image = this.#image;
    const ask = (asked: Step): number => {
      if (!begun) return 0;
      if (at === values.length) {
        step = asked;
        throw new Stop();
      }
      stores = [];
      return values[at++]!;
    };
    const port: Port = {
      load: (cell, cells) => (begun ? ask({ kind: 'load', cell, cells }) : read(image, [], cell, cells)),
      store: (cell, cells, value) => {
        if (begun) stores.push({ cell, cells, value });
        else write(image, { cell, cells, value });
      },
      fence: () => void ask({ kind: 'fence' }),
      signal: (line) => void ask({ kind: 'signal', line }),
      wait: (line) => void ask({ kind: 'wait', line }),
      choose: (count) => ask({ kind: 'choose', count }),
    };
    try {
      this.#program(port, () => {
        begun = true;
      });
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
    }
    return { number: this.#nodes++, stores, step, values, next: new Map() };
  }
}

function read(memory: Uint16Array, buffer: readonly Store[], cell: number, cells: number): number {
  let value = 0;
  for (let i = cells - 1; i >= 0; i--) {
    let word = memory[cell + i]!;
    for (const store of buffer) {
      const part = cell + i - store.cell;
      if (part >= 0 && part < store.cells) word = (store.value >>> (16 * part)) & MASK;
    }
    value = value * (MASK + 1) + word;
  }
  return value;
}

function write(memory: Uint16Array, { cell, cells, value }: Store): void {
  for (let i = 0; i < cells; i++) memory[cell + i] = (value >>> (16 * i)) & MASK;
}

interface State {
  readonly nodes: readonly Node[];
  readonly buffers: readonly (readonly Store[])[];
  readonly memory: Uint16Array;
  /** Event counters, as whether there is something in them. */
  readonly lines: readonly boolean[];
}

/** What all runs together gave. */
export interface Outcome {
  readonly states: number;
  /** How a run went at whose end nobody can go on though the first thread is not at its end; undefined if there is none. */
  readonly stuck: readonly string[] | undefined;
}

const keyOf = ({ nodes, buffers, memory, lines }: State) =>
  [
    nodes.map(({ number }) => number),
    buffers.map((stores) => stores.map(({ cell, value }) => `${cell}:${value}`)),
    lines.map(Number),
    String.fromCharCode(...memory),
  ].join('|');

/**
 * Goes through all runs, until one is found that ends with the first thread asleep, or all are done.
 *
 * @param cells - of memory, which is zero before the threads' first steps
 * @param statesMax - more is an error
 */
export function explore(programs: readonly [Program, Program], cells: number, lines: number, statesMax = 3e6): Outcome {
  const image = new Uint16Array(cells);
  const threads = programs.map((program) => new Thread(program, image));
  const first: State = {
    nodes: threads.map(({ root }) => root),
    buffers: threads.map(({ root }) => root.stores),
    memory: image,
    lines: Array.from({ length: lines }, () => false),
  };
  const seen = new Set([keyOf(first)]);
  const trail: { state: State; successors: [string, State][] }[] = [
    { state: first, successors: successors(threads, first) },
  ];
  const names: string[] = [];
  const isStuck = ({ nodes }: State) => nodes[0]!.step.kind !== 'end';
  if (trail[0]!.successors.length === 0 && isStuck(first)) return { states: 1, stuck: [] };
  while (trail.length > 0) {
    const top = trail.at(-1)!;
    const next = top.successors.pop();
    if (next === undefined) {
      trail.pop();
      names.pop();
      continue;
    }
    const [name, state] = next;
    const key = keyOf(state);
    if (seen.has(key)) continue;
    seen.add(key);
    if (seen.size > statesMax) throw new Error(`more than ${statesMax} states`);
    const after = successors(threads, state);
    names.push(name);
    if (after.length === 0 && isStuck(state)) return { states: seen.size, stuck: [...names] };
    trail.push({ state, successors: after });
  }
  return { states: seen.size, stuck: undefined };
}

/**
 * What can happen next. A fence of an empty buffer, and a choice, are steps that the other thread neither sees nor can change: where there
 * is one, the orders in which it comes later give nothing else, and it is the only one.
 */
function successors(threads: readonly Thread[], state: State): [string, State][] {
  const all: [string, State][] = [];
  for (const [index, thread] of threads.entries()) {
    const node = state.nodes[index]!;
    const buffer = state.buffers[index]!;
    const { step } = node;
    const advance = (value: number, lines = state.lines): State => {
      const next = thread.after(node, value);
      const nodes = state.nodes.with(index, next);
      const buffers = next.stores.length === 0 ? state.buffers : state.buffers.with(index, [...buffer, ...next.stores]);
      return { nodes, buffers, memory: state.memory, lines };
    };
    const who = index === 0 ? 'driver' : 'device';
    const [oldest, ...rest] = buffer;
    if (oldest !== undefined) {
      const memory = state.memory.slice();
      write(memory, oldest);
      const name = `${who}: ${oldest.value} arrives in ${oldest.cell}`;
      all.push([name, { ...state, memory, buffers: state.buffers.with(index, rest) }]);
    }
    switch (step.kind) {
      case 'load': {
        const value = read(state.memory, buffer, step.cell, step.cells);
        all.push([`${who}: reads ${value} from ${step.cell}`, advance(value)]);
        break;
      }
      case 'fence':
        if (oldest === undefined) return [[`${who}: fence`, advance(0)]];
        break;
      case 'signal':
        if (oldest === undefined)
          all.push([`${who}: signals ${step.line}`, advance(0, state.lines.with(step.line, true))]);
        break;
      case 'wait':
        if (state.lines[step.line]) all.push([`${who}: wakes`, advance(0, state.lines.with(step.line, false))]);
        break;
      case 'choose':
        return Array.from({ length: step.count }, (_, value) => [`${who}: chooses ${value}`, advance(value)]);
    }
  }
  return all;
}
