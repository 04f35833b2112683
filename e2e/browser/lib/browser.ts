/** Starts a real Chromium with the devices and permissions that hosts and viewers need. */

import { chromium, type Browser } from '@playwright/test';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream=fps=30',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  '--disable-background-timer-throttling',
  // The node listens on this machine, perhaps its only network.
  '--allow-loopback-in-peer-connection',
];

export function launch(flags: string[] = []): Promise<Browser> {
  const executablePath = process.env['SHOWRUNNER_CHROMIUM'] ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, headless: true, args: [...FLAGS, ...flags] });
}
