/** Runs a real media node for the tests. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const READY_MS = 20_000;

export interface NodeOptions {
  /** Address that HTTP and media listen on. */
  ip?: string;
  /** Network namespace to run in; by default the one of the tests. */
  namespace?: string;
  args?: string[];
}

export class MediaNode {
  #process: ChildProcess | undefined;
  #log = '';

  readonly #command: string[];

  private constructor(
    /** Address of its HTTP server, without a slash at the end. */
    readonly url: string,
    command: string[],
  ) {
    this.#command = command;
  }

  /** Starts a node and waits until it is ready. `SHOWRUNNER_MEDIA_NODE` names another binary. */
  static async start({ ip = '127.0.0.1', namespace, args = [] }: NodeOptions = {}): Promise<MediaNode> {
    // Ports of another namespace can't be tried from here, but there all of them are free.
    const http = namespace ? 8080 : await freePort(ip);
    const media = namespace ? 7000 : await freePort(ip);
    const node = new MediaNode(`http://${ip}:${http}`, [
      ...(namespace ? ['ip', 'netns', 'exec', namespace] : []),
      binary(),
      ...['--http', `${ip}:${http}`],
      ...['--media-bind', ip],
      ...['--media-port', String(media)],
      // Neighbouring ports need not be free.
      ...['--shards', '1'],
      ...['--web-dir', `${ROOT}media-node/web/dist`],
      ...args,
    ]);
    await node.start();
    return node;
  }

  /** Starts it (again) on the same ports. */
  async start(): Promise<void> {
    const [program = '', ...args] = this.#command;
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
        throw new Error(`the node does not get ready:\n${this.#command.join(' ')}\n${this.#log}`);
      }
    }
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  /** `GET /v1/status`. */
  async status(): Promise<unknown> {
    return (await fetch(`${this.url}/v1/status`)).json();
  }

  /** The end of what it logged. */
  get log(): string {
    return this.#log;
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(1_000) })).ok;
    } catch {
      // Refused at once while it starts: leave it the processor for a moment.
      await new Promise((resolve) => setTimeout(resolve, 20));
      return false;
    }
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    const patience = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(patience);
  }
}

function binary(): string {
  const named = process.env['SHOWRUNNER_MEDIA_NODE'];
  const built = ['release', 'debug'].map((profile) => `${ROOT}target/${profile}/media-node`);
  const found = named ?? built.find((path) => existsSync(path));
  if (found === undefined) throw new Error('build the node first: cargo build --release -p media-node');
  return found;
}

async function freePort(ip: string): Promise<number> {
  const server = createServer().listen(0, ip);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
