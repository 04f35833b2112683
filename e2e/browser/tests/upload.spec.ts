/** A host's browser and a narrow upload. */

import { expect, FULL_HD, goLive, report, statsOf, test } from '../lib/fixtures.ts';
import { CLEAN, LossyPath } from '../lib/lossy.ts';

test('a host whose upload gets wider sends the large picture soon', async ({ room, open, startNode, hostBrowser }) => {
  const node = await startNode();
  const path = await LossyPath.open(node.mediaPort);
  path.up = { ...CLEAN, kbps: 600 };
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: FULL_HD, prepare: (page) => path.carry(page) });
  await goLive(host);
  const summary = host.locator('#summary');
  await expect(summary).toContainText(/Your upload carries [3-7]\d\d kbit\/s; sending 270p/);
  const [sent] = await statsOf(host, 'outbound-rtp');
  path.up = CLEAN;
  const since = Date.now();
  // By itself the browser takes half a minute: it goes up by 8 % a second.
  await expect(summary).toContainText('sending 1080p');
  report('upload_gets_wider_s', (Date.now() - since) / 1_000);
  const [after] = await statsOf(host, 'outbound-rtp');
  expect(after?.['ssrc'], 'it is the same connection').toBe(sent?.['ssrc']);
  await path.close();
});
