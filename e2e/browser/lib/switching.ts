/**
 * Viewers that are put from picture to picture, and what they saw: functions that run inside pages, so each is complete
 * in itself, and what is made of it.
 */

/** A decoded frame. */
export interface DecodedFrame {
  /** When it left the decoder, in milliseconds since 1970. */
  at: number;
  /** RTP timestamp, 90 kHz. */
  rtp: number;
  height: number;
}

/** What one viewer got. */
export interface Watched {
  frames: DecodedFrame[];
  switches: number;
  /** Switches after which the picture did not come. */
  missed: number;
  stats: Record<string, number>;
}

export interface SwitchPlan {
  /** WHEP endpoint. */
  endpoint: string;
  viewers: number;
  /** What to ask for, and the height of the picture that it brings. */
  pictures: { selection: Record<string, unknown>; height: number }[];
  /** Switches of all viewers together. */
  switches: number;
}

/** Keeps the frames that the page's connections decode: all of them, however busy the screen is. */
export function keepFrames(): void {
  interface Processor {
    readable: ReadableStream<VideoFrame>;
  }
  interface Described {
    metadata(): { rtpTimestamp?: number };
  }
  const { MediaStreamTrackProcessor } = window as unknown as {
    MediaStreamTrackProcessor: new (init: { track: MediaStreamTrack; maxBufferSize: number }) => Processor;
  };
  const follow = async (track: MediaStreamTrack, frames: DecodedFrame[]) => {
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 60 }).readable.getReader();
    for (;;) {
      const { value: frame, done } = await reader.read();
      if (done) return;
      const { rtpTimestamp } = (frame as VideoFrame & Described).metadata();
      frames.push({ at: performance.timeOrigin + performance.now(), rtp: rtpTimestamp ?? NaN, height: frame.displayHeight });
      frame.close();
    }
  };
  Object.assign(window, {
    followFrames(track: MediaStreamTrack): DecodedFrame[] {
      const frames: DecodedFrame[] = [];
      void follow(track, frames);
      return frames;
    },
  });
}

/**
 * Connects viewers and switches each as soon as it has what it asked for before. The first two are not switched: one is
 * shown the first picture, the other the last.
 */
export async function switchViewers({ endpoint, viewers, pictures, switches }: SwitchPlan): Promise<Watched[]> {
  const DESCRIPTOR = 'dependency-descriptor-rtp-header-extension';
  const PATIENCE_MS = 10_000;
  interface Extension {
    uri: string;
    direction: string;
  }
  interface Negotiates {
    getHeaderExtensionsToNegotiate(): Extension[];
    setHeaderExtensionsToNegotiate(extensions: Extension[]): void;
  }
  const { followFrames } = window as unknown as { followFrames: (track: MediaStreamTrack) => DecodedFrame[] };
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const post = (url: string, type: string, body: string) =>
    fetch(url, { method: 'POST', headers: { 'content-type': type }, body });

  const connect = async () => {
    const pc = new RTCPeerConnection();
    const transceiver = pc.addTransceiver('video', { direction: 'recvonly' });
    const extensions = transceiver as unknown as Negotiates;
    extensions.setHeaderExtensionsToNegotiate(
      extensions
        .getHeaderExtensionsToNegotiate()
        .map((each) => (each.uri.includes(DESCRIPTOR) ? { ...each, direction: 'sendrecv' } : each)),
    );
    await pc.setLocalDescription();
    const response = await post(endpoint, 'application/sdp', pc.localDescription?.sdp ?? '');
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    const resource = new URL(response.headers.get('location') ?? '', endpoint).href;
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
    const watched: Watched = { frames: followFrames(transceiver.receiver.track), switches: 0, missed: 0, stats: {} };
    return { pc, resource, watched, sum: async () => {
      for (const report of (await pc.getStats()).values() as Iterable<Record<string, unknown>>) {
        if (report['type'] !== 'inbound-rtp') continue;
        for (const [name, value] of Object.entries(report)) if (typeof value === 'number') watched.stats[name] = value;
      }
    } };
  };
  const all = await Promise.all(Array.from({ length: viewers }, connect));
  const show = async ({ resource, watched }: (typeof all)[number], picture: (typeof pictures)[number]) => {
    await post(`${resource}/layer`, 'application/json', JSON.stringify(picture.selection));
    const until = performance.now() + PATIENCE_MS;
    while (watched.frames.at(-1)?.height !== picture.height) {
      if (performance.now() > until) return false;
      await pause(20);
    }
    return true;
  };
  // All begin with the same picture, and what it takes to get there counts for nothing.
  const [first, last] = [pictures[0], pictures.at(-1)];
  if (!first || !last) throw new Error('no pictures');
  for (const [at, each] of all.entries()) {
    if (!(await show(each, at === 1 ? last : first))) throw new Error('the first picture did not come');
  }
  await pause(3_000);
  for (const each of all) {
    await each.sum();
    each.watched.frames.splice(0);
  }
  const before = all.map(({ watched }) => watched.stats);
  all.forEach(({ watched }) => (watched.stats = {}));
  let left = switches;
  const drive = async (each: (typeof all)[number]) => {
    let now = 0;
    while (left > 0) {
      left -= 1;
      now = (now + 1 + Math.floor(Math.random() * (pictures.length - 1))) % pictures.length;
      const picture = pictures[now];
      if (!picture) return;
      if (!(await show(each, picture))) each.watched.missed += 1;
      each.watched.switches += 1;
      await pause(100 + 200 * Math.random());
    }
  };
  await Promise.all(all.slice(2).map(drive));
  await pause(1_000);
  for (const [at, each] of all.entries()) {
    await each.sum();
    for (const name of Object.keys(each.watched.stats)) {
      each.watched.stats[name] = (each.watched.stats[name] ?? 0) - (before[at]?.[name] ?? 0);
    }
    each.pc.close();
  }
  return all.map(({ watched }) => watched);
}

/** How much media time lies between each frame and the next, in milliseconds. */
export function gaps(frames: DecodedFrame[]): { ms: number; from: number; to: number }[] {
  return frames.slice(1).map((frame, index) => {
    const before = frames[index] ?? frame;
    return { ms: ((frame.rtp - before.rtp) | 0) / 90, from: before.at, to: frame.at };
  });
}

/** Freezes: gaps of more than so many milliseconds, while another viewer (who is not switched) went on getting frames. */
export function freezes(frames: DecodedFrame[], reference: DecodedFrame[], atLeastMs: number): number {
  const sourceGaps = gaps(reference).filter(({ ms }) => ms > atLeastMs);
  const SLACK_MS = 500;
  const isSource = (from: number, to: number) =>
    sourceGaps.some((gap) => gap.from < to + SLACK_MS && gap.to > from - SLACK_MS);
  return gaps(frames).filter(({ ms, from, to }) => ms > atLeastMs && !isSource(from, to)).length;
}

/** The most that a counter grew within any second, of samples of time (ms) and count. */
export function mostInASecond(samples: { at: number; count: number }[]): number {
  let most = 0;
  for (const [at, sample] of samples.entries()) {
    for (const later of samples.slice(at + 1)) {
      if (later.at - sample.at > 1_000) break;
      most = Math.max(most, later.count - sample.count);
    }
  }
  return most;
}
