/** The page itself: on a phone, by keyboard, and with devices that fail. */

import type { Page } from '@playwright/test';
import { expect, expectLive, goLive, HD, test } from '../lib/fixtures.ts';

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

/** All controls lie inside the window, and the page does not scroll sideways. */
async function expectFits(page: Page): Promise<void> {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(overflow).toBeLessThanOrEqual(0);
  for (const control of await page.locator('button:visible, select:visible').all()) {
    const box = await control.boundingBox();
    const name = await control.getAttribute('id');
    expect(box?.x, name ?? '').toBeGreaterThanOrEqual(0);
    expect((box?.x ?? 0) + (box?.width ?? 0), name ?? '').toBeLessThanOrEqual(390);
    expect(box?.height, name ?? '').toBeGreaterThanOrEqual(44);
  }
}

test('fits a phone, for the host and for viewers', async ({ node, room, open, hostBrowser, viewerBrowser }, info) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { context: PHONE });
  await goLive(host);
  await expect(host.locator('#summary')).toContainText(/sending/i);
  // The readout is complete: rates take two readings, the round trip a report from the node.
  for (const row of await host.locator('#layers tbody tr').all()) {
    await expect(row).toContainText(/[1-9][\d.]* [kM]bit\/s/);
    await expect(row).toContainText(/\d ms/);
  }
  await expectFits(host);
  await host.screenshot({ path: info.outputPath('host.png'), fullPage: true });
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, { context: PHONE });
  await expect(viewer.locator('#badge')).toBeVisible();
  await expect.poll(() => viewer.evaluate(() => document.querySelector('video')?.readyState)).toBe(4);
  await expectFits(viewer);
  await viewer.screenshot({ path: info.outputPath('viewer.png') });
});

test('a host can do everything by keyboard', async ({ node, room, open, hostBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  const go = host.getByRole('button', { name: 'Go live' });
  await expect(go).toBeEnabled();
  for (let i = 0; i < 10 && !(await go.evaluate((button) => button === document.activeElement)); i += 1) {
    await host.keyboard.press('Tab');
  }
  await host.keyboard.press('Enter');
  await expect(host.locator('#badge')).toBeVisible();
  await host.keyboard.press('Enter');
  await expect(go).toBeVisible();
  await expect(host.locator('#badge')).toBeHidden();
});

test('the host picks another camera while live', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);
  await host.locator('#camera').dispatchEvent('change');
  await expectLive(viewer);
});

test('a blocked camera is explained', async ({ node, room, open, hostBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, {
    prepare: (page) =>
      page.addInitScript(() => {
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('denied', 'NotAllowedError'));
      }),
  });
  await expect(host.getByRole('alert')).toContainText('Allow them for this page');
  await expect(host.getByRole('button', { name: 'Go live' })).toBeDisabled();
});

test('an address without a room says so', async ({ node, open, viewerBrowser }) => {
  const page = await open(viewerBrowser, `${node.url}/rooms/default/Not-A-Room`);
  await expect(page.getByText('No room has this address')).toBeVisible();
});
