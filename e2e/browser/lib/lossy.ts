/** A path that loses, delays and is narrow: a relay for the datagrams between browsers and a node. */

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Page } from '@playwright/test';

const HOST = '127.0.0.1';

/** What happens to datagrams of one direction. */
export interface Direction {
  /** Share that is lost, 0 to 1. */
  loss: number;
  /** Mean length of a run of losses; 1: each is lost or not by itself. */
  burst: number;
  /** How long each is on its way, in milliseconds. */
  delayMs: number;
  /** What fits through, in kbit/s; what does not waits for up to `QUEUE_MS`. */
  kbps: number;
}

export const CLEAN: Direction = { loss: 0, burst: 1, delayMs: 0, kbps: Infinity };

const QUEUE_MS = 200;

export class LossyPath {
  /** To the browser. */
  down = CLEAN;
  /** To the node. */
  up = CLEAN;
  /** Towards the node, one socket for each of the browser's. */
  readonly #sockets = new Map<string, Promise<Socket>>();
  readonly #fate: { down: Fate; up: Fate };

  private constructor(
    private readonly near: Socket,
    private readonly nodePort: number,
    seed: number,
  ) {
    const random = seeded(seed);
    this.#fate = { down: new Fate(random), up: new Fate(random) };
    near.on('message', (datagram, from) => void this.#toNode(datagram, from));
  }

  /** A path to the node's media port on this machine. The same seed loses the same. */
  static async open(nodePort: number, seed = 1): Promise<LossyPath> {
    const near = createSocket('udp4');
    near.bind(0, HOST);
    await once(near, 'listening');
    return new LossyPath(near, nodePort, seed);
  }

  /** Sends a page's sessions by this path, from now on. */
  async carry(page: Page): Promise<void> {
    const { port } = this.near.address();
    await page.route(/\/wh[ei]p\//, async (route) => {
      const response = await route.fetch();
      if (response.headers()['content-type'] !== 'application/sdp') return route.fulfill({ response });
      const answer = await response.text();
      const lines = answer
        .split('\r\n')
        .filter((line) => !/^a=candidate:.* tcp /i.test(line))
        .map((line) => line.replace(/^(a=candidate:.* udp \d+) \S+ \d+ /i, `$1 ${HOST} ${port} `));
      return route.fulfill({ response, body: lines.join('\r\n') });
    });
  }

  async close(): Promise<void> {
    this.near.close();
    for (const socket of await Promise.all(this.#sockets.values())) socket.close();
  }

  async #toNode(datagram: Buffer, from: RemoteInfo): Promise<void> {
    const far = await this.#socketOf(from);
    this.#fate.up.meet(this.up, datagram.length, () => far.send(datagram, this.nodePort, HOST));
  }

  #socketOf(from: RemoteInfo): Promise<Socket> {
    const key = `${from.address}:${from.port}`;
    const known = this.#sockets.get(key);
    if (known) return known;
    const made = this.#connect(from);
    this.#sockets.set(key, made);
    return made;
  }

  async #connect(from: RemoteInfo): Promise<Socket> {
    const far = createSocket('udp4');
    far.bind(0, HOST);
    await once(far, 'listening');
    far.on('message', (datagram) => {
      this.#fate.down.meet(this.down, datagram.length, () => this.near.send(datagram, from.port, from.address));
    });
    return far;
  }
}

/** Gilbert's model: losses come in runs whose lengths are geometrically distributed. */
class Fate {
  #isLosing = false;
  /** When all before has left. */
  #isFreeAt = 0;

  constructor(private readonly random: () => number) {}

  meet({ loss, burst, delayMs, kbps }: Direction, bytes: number, arrive: () => void): void {
    const end = 1 / burst;
    const begin = (loss * end) / (1 - loss);
    this.#isLosing = burst === 1 ? this.random() < loss : this.random() < (this.#isLosing ? 1 - end : begin);
    // A timer may fire after its socket was closed, which is no concern of the test.
    const arriveIfOpen = () => {
      try {
        arrive();
      } catch {
        this.#isLosing = false;
      }
    };
    const now = performance.now();
    const queueMs = Math.max(0, this.#isFreeAt - now);
    if (this.#isLosing || queueMs > QUEUE_MS) return;
    const sendMs = (bytes * 8) / kbps;
    this.#isFreeAt = now + queueMs + sendMs;
    const waitMs = delayMs + queueMs + sendMs;
    if (waitMs > 0) setTimeout(arriveIfOpen, waitMs);
    else arriveIfOpen();
  }
}

/** Numbers from 0 to 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
