/**
 * Thousands of forced switches: viewers in one page, each put to another picture as soon as it has the last.
 * `SWITCHES` over all codecs (10,000), `SWITCH_VIEWERS` at once (10), `SWITCH_CODECS` (all).
 */

import { goLiveWith, sendScalable, statsOf, test } from '../lib/fixtures.ts';
import { freezes, keepFrames, mostInASecond, switchViewers } from '../lib/switching.ts';

const CODECS = [
  { codec: 'VP8', mode: undefined },
  { codec: 'H264', mode: undefined },
  { codec: 'VP9', mode: 'L3T3_KEY' },
  { codec: 'AV1', mode: 'L3T3_KEY' },
] as const;
const WANTED = process.env['SWITCH_CODECS']?.split(',') ?? CODECS.map(({ codec }) => codec);
const CHOSEN = CODECS.filter(({ codec }) => WANTED.includes(codec));
const SWITCHES = Math.ceil(Number(process.env['SWITCHES'] ?? 10_000) / CHOSEN.length);
const VIEWERS = Number(process.env['SWITCH_VIEWERS'] ?? 10);
/** Small enough for two cores to encode three of and to decode a dozen of, and large enough for three layers. */
const CAMERA = { width: 960, height: 544 };
const HEIGHTS = [136, 272, 544];
const SAMPLE_MS = 200;

/** `name: figure … ok` where it is at most that, `… short` where it is more. */
function figure(name: string, value: number, most?: number): void {
  const verdict = most === undefined ? '' : ` … ${value <= most ? 'ok' : 'short'}`;
  console.log(`${name}: ${Math.round(value * 1_000) / 1_000}${verdict}`);
}

for (const { codec, mode } of CHOSEN) {
  test(`${codec}${mode ? ` ${mode}` : ''}`, async ({ startNode, room, open, hostBrowser, viewerBrowser }) => {
    const node = await startNode();
    const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, {
      camera: CAMERA,
      prepare: async (page) => {
        if (mode) await page.addInitScript(sendScalable, mode);
      },
    });
    await goLiveWith(host, codec);
    const viewers = await open(viewerBrowser, `${node.url}/v1/status`, {
      prepare: (page) => page.addInitScript(keepFrames),
      // That page has no icon, and frames are left over when it closes.
      tolerate: /status of 404|VideoFrame was garbage collected/,
    });

    const asked = new Map<unknown, { at: number; count: number }[]>();
    const sample = async () => {
      for (const stream of await statsOf(host, 'outbound-rtp')) {
        const samples = asked.get(stream['ssrc']) ?? [];
        samples.push({ at: Number(stream['timestamp']), count: Number(stream['pliCount']) + Number(stream['firCount'] ?? 0) });
        asked.set(stream['ssrc'], samples);
      }
    };
    let isOver = false;
    const sampling = (async () => {
      while (!isOver) {
        await sample();
        await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
      }
    })();
    const began = Date.now();
    const watched = await viewers
      .evaluate(switchViewers, {
        endpoint: `${node.url}/whep/${room}`,
        viewers: VIEWERS + 2,
        pictures: HEIGHTS.map((height, at) => ({
          selection: mode ? { rid: '', maxSpatialLayerId: at } : { rid: 'qhf'[at] },
          height,
        })),
        switches: SWITCHES,
      })
      .finally(() => (isOver = true));
    const seconds = (Date.now() - began) / 1_000;
    await sampling;

    const [small, large, ...switched] = watched;
    const sum = (of: (each: (typeof watched)[number]) => number) => switched.reduce((total, each) => total + of(each), 0);
    const name = `switches_${codec.toLowerCase()}`;
    figure(name, sum((each) => each.switches));
    figure(`${name}_a_second`, sum((each) => each.switches) / seconds);
    figure(`${name}_frames_decoded`, sum(({ stats }) => stats['framesDecoded'] ?? 0));
    figure(`${name}_without_the_picture`, sum((each) => each.missed), 0);
    figure(`${name}_decode_errors`, sum(({ stats }) => stats['pliCount'] ?? 0), 0);
    figure(`${name}_packets_lost`, sum(({ stats }) => stats['packetsLost'] ?? 0), 0);
    figure(`${name}_frames_dropped`, sum(({ stats }) => stats['framesDropped'] ?? 0));
    figure(`${name}_frames_dropped_without_switching_small`, small?.stats['framesDropped'] ?? NaN);
    figure(`${name}_frames_dropped_without_switching_large`, large?.stats['framesDropped'] ?? NaN);
    figure(`${name}_freezes_over_200_ms`, sum((each) => freezes(each.frames, small?.frames ?? [], 200)), 0);
    figure(`${name}_freezes_by_the_clock`, sum(({ stats }) => stats['freezeCount'] ?? 0));
    const layers = [...asked.values()];
    const rate = (samples: { at: number; count: number }[]) => {
      const [first, last] = [samples[0], samples.at(-1)];
      return first && last ? (1_000 * (last.count - first.count)) / (last.at - first.at) : 0;
    };
    figure(`${name}_requests_a_second_a_layer`, Math.max(...layers.map(rate)), 1);
    figure(`${name}_requests_most_in_a_second`, Math.max(...layers.map(mostInASecond)), 1);
  });
}
