/**
 * Viewers for `make bench-network`: real Chromium on our client, or on LiveKit's, that records what
 * it shows until a given time. Takes a JSON of `Order` as its argument, and prints one of `Told`.
 */

import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { keepConnections } from '../lib/code.ts';
import { launch } from '../lib/browser.ts';
import { record, recorded, type Recording } from './recorder.ts';

interface Order {
  /** Whose client the viewer runs. */
  client: 'showrunner' | 'livekit';
  /** The file with it: our library as a script that sets `showrunner`, or LiveKit's UMD file. */
  script: string;
  /** The server's address. */
  url: string;
  /** Our room, or LiveKit's tokens, one for each viewer. */
  room: string;
  tokens: string[];
  viewers: number;
  /** Whether to read the numbers of frames. */
  readsNumbers: boolean;
  /** When to end, in milliseconds since 1970. */
  until: number;
}

interface Told extends Recording {
  /** When it was told to watch, in milliseconds since 1970. */
  joined: number;
  /** What went wrong, as the page logged it. */
  errors: string[];
}

/** The picture fills the window, so whoever chooses by size chooses the top layer. */
const PAGE = `<!doctype html><meta charset="utf-8"><title>Viewer</title>
<style>body { margin: 0 } video { display: block; width: 100vw; height: 100vh }</style>
<video id="program" autoplay playsinline></video>`;
const WINDOW = { width: 1920, height: 1080 };

async function main(order: Order): Promise<void> {
  const script = await readFile(order.script, 'utf8');
  const browser = await launch();
  const pages: { page: Page; errors: string[] }[] = [];
  for (let index = 0; index < order.viewers; index += 1) {
    const page = await (await browser.newContext({ viewport: WINDOW, bypassCSP: true })).newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      // Browsers ask every server for one.
      const isIcon = message.location().url.endsWith('/favicon.ico');
      if (message.type() === 'error' && !isIcon) errors.push(`${message.text()} (${message.location().url})`);
    });
    await page.addInitScript(keepConnections);
    // From the server itself, as a real page: so there is a connection to go on with, and the
    // browser knows that this origin is in the same network as what it talks to.
    await page.goto(order.url);
    await page.setContent(PAGE);
    await page.addScriptTag({ content: script });
    await page.evaluate(record, { selector: '#program', readsNumbers: order.readsNumbers });
    // As LiveKit's is told by `prepareConnection` below.
    if (order.client === 'showrunner') await page.evaluate(prepareOurs);
    pages.push({ page, errors });
  }
  // What the pages logged until here is of this test's own making.
  for (const { errors } of pages) errors.length = 0;
  const joined = await Promise.all(pages.map(({ page }, index) => join(order, page, order.tokens[index] ?? '')));
  await new Promise((resolve) => setTimeout(resolve, order.until - Date.now()));
  const told: Told[] = [];
  for (const [index, { page, errors }] of pages.entries()) {
    told.push({ joined: joined[index] ?? 0, errors, ...(await page.evaluate(recorded)) });
  }
  await browser.close();
  process.stdout.write(JSON.stringify(told));
}

/** Watches; when that began. */
function join(order: Order, page: Page, token: string): Promise<number> {
  if (order.client === 'showrunner') return page.evaluate(watchOurs, order.room);
  return page.evaluate(watchLiveKit, { url: order.url, token });
}

/** Runs in the page. */
function prepareOurs(): Promise<void> {
  const { showrunner } = window as unknown as { showrunner: { prepare: () => Promise<void> } };
  return showrunner.prepare();
}

/** Runs in the page. */
function watchOurs(room: string): number {
  const { showrunner } = window as unknown as { showrunner: { watch: (endpoint: string, video: Element | null) => unknown } };
  const now = Date.now();
  showrunner.watch(`/whep/${room}`, document.querySelector('#program'));
  return now;
}

/** Runs in the page. The options of the room are LiveKit's own defaults. */
async function watchLiveKit({ url, token }: { url: string; token: string }): Promise<number> {
  interface Track {
    kind: string;
    attach(element?: Element | null): Element;
  }
  interface Room {
    prepareConnection(url: string, token: string): Promise<void>;
    connect(url: string, token: string): Promise<void>;
    on(event: 'trackSubscribed', listener: (track: Track) => void): void;
  }
  const { LivekitClient } = window as unknown as { LivekitClient: { Room: new () => Room } };
  const room = new LivekitClient.Room();
  room.on('trackSubscribed', (track) => {
    if (track.kind === 'video') track.attach(document.querySelector('#program'));
    else document.body.append(track.attach());
  });
  const server = url.replace('http', 'ws');
  await room.prepareConnection(server, token);
  const now = Date.now();
  room.connect(server, token).catch((error: unknown) => {
    console.error(error);
  });
  return now;
}

// Whatever goes wrong ends the program with a trace.
void main(JSON.parse(process.argv[2] ?? '{}') as Order);
