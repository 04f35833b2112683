/** What every test starts from: a node, a browser for the host, and another one for viewers. */

import { test as base, expect, type Browser, type BrowserContextOptions, type Page } from '@playwright/test';
import { launch } from './browser.ts';
import { connectionStats, installCodeCamera, keepConnections, readFrames, type SeenFrame } from './code.ts';
import { MediaNode, type NodeOptions } from './node.ts';

export { expect, launch };

interface Workers {
  node: MediaNode;
  hostBrowser: Browser;
  viewerBrowser: Browser;
}

interface Tests {
  /** Starts a node that belongs to this test alone; it outlives the test's pages. */
  startNode: (options?: NodeOptions) => Promise<MediaNode>;
  /** A room of the test's own. */
  room: string;
  /** Opens a page that fails the test if it logs an error or breaks its content policy. */
  open: (browser: Browser, url: string, options?: OpenOptions) => Promise<Page>;
}

export interface OpenOptions {
  /** Size of the code camera; without it the browser's own fake camera is used. */
  camera?: { width: number; height: number };
  context?: BrowserContextOptions;
  /** Console errors that the test provokes. */
  tolerate?: RegExp;
  /** More preparation before the page loads. */
  prepare?: (page: Page) => Promise<unknown>;
}

export const HD = { width: 1280, height: 720 };
export const FULL_HD = { width: 1920, height: 1080 };

export const test = base.extend<Tests, Workers>({
  node: [
    async ({}, use) => {
      const node = await MediaNode.start();
      await use(node);
      await node.stop();
    },
    { scope: 'worker' },
  ],
  hostBrowser: [
    async ({}, use) => {
      const browser = await launch();
      await use(browser);
      await browser.close();
    },
    { scope: 'worker' },
  ],
  viewerBrowser: [
    async ({}, use) => {
      const browser = await launch();
      await use(browser);
      await browser.close();
    },
    { scope: 'worker' },
  ],
  room: async ({}, use, { testId }) => use(`default/test-${testId.replace(/[^a-z0-9]/g, '')}`),
  startNode: async ({}, use) => {
    const nodes: MediaNode[] = [];
    await use(async (options) => {
      const node = await MediaNode.start(options);
      nodes.push(node);
      return node;
    });
    for (const node of nodes) await node.stop();
  },
  // Depends on `startNode` to close its pages before their nodes stop.
  open: async ({ startNode: _ }, use) => {
    const pages: Page[] = [];
    const errors: string[] = [];
    await use(async (browser, url, { camera, context: contextOptions, tolerate, prepare } = {}) => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, ...contextOptions });
      const page = await context.newPage();
      pages.push(page);
      page.on('pageerror', (error) => errors.push(`${page.url()}: ${error.message}`));
      page.on('console', (message) => {
        // A viewer who comes before the host is told 409, which browsers log.
        const isExpected = /status of 409/.test(message.text()) || tolerate?.test(message.text());
        if (message.type() === 'error' && !isExpected) errors.push(`${message.location().url}: ${message.text()}`);
      });
      await page.addInitScript(keepConnections);
      if (camera) await page.addInitScript(installCodeCamera, camera);
      await prepare?.(page);
      await page.goto(url);
      return page;
    });
    for (const page of pages) await page.context().close();
    expect(errors, 'pages logged errors').toEqual([]);
  },
});

/** Presses the host's button and waits until it is on air. */
export async function goLive(host: Page): Promise<void> {
  await host.getByRole('button', { name: 'Go live' }).click();
  await expect(host.locator('#badge')).toBeVisible();
}

/** Goes live with this format of the picture; skips the test where the browser has no encoder for it. */
export async function goLiveWith(host: Page, codec: string): Promise<void> {
  const canSend = await host.evaluate(
    (name) => RTCRtpSender.getCapabilities('video')?.codecs.some(({ mimeType }) => mimeType === `video/${name}`),
    codec,
  );
  test.skip(!canSend, `this browser has no ${codec} encoder`);
  await host.getByText('More settings').click();
  await host.getByLabel('Video format').selectOption(codec);
  await goLive(host);
}

/** Has a host's page send one scalable stream instead of several. */
export function sendScalable(scalabilityMode: string): void {
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (track, init) {
    const isVideo = track instanceof MediaStreamTrack && track.kind === 'video';
    return add.call(this, track, isVideo ? { ...init, sendEncodings: [{ scalabilityMode, maxBitrate: 1_500_000 }] } : init);
  };
}

/** The next frames that the viewer sees; waits for them. */
export function seenFrames(viewer: Page, count: number): Promise<SeenFrame[]> {
  return viewer.evaluate(readFrames, { selector: '#program', count });
}

/** Waits until the viewer sees frames that were drawn after this call. */
export async function expectLive(viewer: Page): Promise<void> {
  const now = Date.now() % 2 ** 32;
  await expect(viewer.locator('#badge')).toBeVisible();
  await expect.poll(async () => (await seenFrames(viewer, 1))[0]?.drawn, { message: 'the picture is live' }).toBeGreaterThan(now);
}

/** Statistics of the open connections of a page. */
export function statsOf(page: Page, type: string, kind = 'video'): Promise<Record<string, unknown>[]> {
  return page.evaluate(connectionStats, { type, kind });
}

/** Height of the picture that the viewer decodes now. */
export function pictureHeight(viewer: Page): Promise<number> {
  return viewer.locator('#program').evaluate((video) => (video as HTMLVideoElement).videoHeight);
}

/** Prints a figure as `name: value`. */
export function report(name: string, value: number): void {
  console.log(`${name}: ${Math.round(value * 100) / 100}`);
}
