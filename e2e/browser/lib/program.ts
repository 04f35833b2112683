/** A program of this project that a test runs. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const READY_MS = 20_000;

export class Program {
  #process: ChildProcess | undefined;
  #log = '';

  /** Does not start it yet. `isReady` says whether it does its work. */
  constructor(
    private readonly command: string[],
    private readonly isReady: () => Promise<boolean>,
  ) {}

  /** Starts it (again) and waits until it is ready. */
  async start(): Promise<void> {
    const [program = '', ...args] = this.command;
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text: Buffer) => {
        this.#log = (this.#log + text.toString()).slice(-20_000);
      });
    }
    const deadline = Date.now() + READY_MS;
    while (!(await this.#isReady())) {
      if (child.exitCode !== null || Date.now() > deadline) {
        child.kill('SIGKILL');
        throw new Error(`it does not get ready:\n${this.command.join(' ')}\n${this.#log}`);
      }
    }
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Stops its threads, and leaves all that it has open. */
  freeze(): Promise<void> {
    this.#process?.kill('SIGSTOP');
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  /** The end of what it logged. */
  get log(): string {
    return this.#log;
  }

  async #isReady(): Promise<boolean> {
    const isReady = await this.isReady().catch(() => false);
    // Refused at once while it starts: leave it the processor for a moment.
    if (!isReady) await new Promise((resolve) => setTimeout(resolve, 20));
    return isReady;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    child.kill('SIGCONT');
    const patience = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(patience);
  }
}

/** Whether a server says so at `/readyz`. */
export async function saysReady(url: string): Promise<boolean> {
  return (await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1_000) })).ok;
}

/** Where a program was built. An environment variable such as `SHOWRUNNER_MEDIA_NODE` names another one. */
export function binary(name: string): string {
  const named = process.env[`SHOWRUNNER_${name.toUpperCase().replaceAll('-', '_')}`];
  const built = ['release', 'debug'].map((profile) => `${ROOT}target/${profile}/${name}`);
  const found = named ?? built.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`there is no ${name}: make build`);
  return found;
}

export async function freePort(ip: string): Promise<number> {
  const server = createServer().listen(0, ip);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
