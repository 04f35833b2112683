/**
 * What a viewer lives through, frame by frame: runs inside the viewer's page, so each function is
 * complete in itself.
 */

/** A frame as it was shown. */
export interface ShownFrame {
  /** When, in milliseconds since 1970. */
  at: number;
  height: number;
  /** How many frames the player has shown, with those that this script was too slow to see. */
  count: number;
  /** The number that the picture shows; null if it wasn't read or is torn. */
  number: number | null;
}

/** What the browser's statistics said at a moment. */
export interface Sample {
  at: number;
  video: Record<string, number>;
  audio: Record<string, number>;
}

/** A step of a connection: `connecting`, `connected`, `stable` and so on. */
export interface Mark {
  at: number;
  step: string;
}

export interface Recording {
  marks: Mark[];
  frames: ShownFrame[];
  samples: Sample[];
}

interface Recorded extends Window {
  keptConnections: RTCPeerConnection[];
  recording: Recording;
}

/** Begins to record the video. `readsNumbers` costs time for each frame. */
export function record({ selector, readsNumbers }: { selector: string; readsNumbers: boolean }): void {
  const BITS = 12;
  const CELLS = 16;
  const SAMPLE_MS = 500;
  const here = window as unknown as Recorded;
  const recording: Recording = { marks: [], frames: [], samples: [] };
  here.recording = recording;
  const mark = (step: string) => recording.marks.push({ at: Date.now(), step });
  const Original = RTCPeerConnection;
  window.RTCPeerConnection = class extends Original {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      this.addEventListener('signalingstatechange', () => mark(`signaling ${this.signalingState}`));
      this.addEventListener('iceconnectionstatechange', () => mark(`ice ${this.iceConnectionState}`));
      this.addEventListener('connectionstatechange', () => mark(`connection ${this.connectionState}`));
    }
  };
  const video = document.querySelector<HTMLVideoElement>(selector);
  if (!video) throw new Error(`no video at ${selector}`);
  const canvas = new OffscreenCanvas(CELLS, 2);
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });

  /** The two rows of cells at the top edge are opposites, or the number doesn't count. */
  const readNumber = (): number | null => {
    if (!readsNumbers || !context) return null;
    context.drawImage(video, 0, 0, video.videoWidth, video.videoHeight / 8, 0, 0, CELLS, 2);
    const { data } = context.getImageData(0, 0, CELLS, 2);
    const isWhite = (x: number, y: number) => (data[(y * CELLS + x) * 4 + 1] ?? 0) > 127;
    let number = 0;
    for (let bit = 0; bit < BITS; bit += 1) {
      if (isWhite(bit + 2, 0) === isWhite(bit + 2, 1)) return null;
      if (isWhite(bit + 2, 0)) number += 2 ** bit;
    }
    return number;
  };

  const onFrame = (now: number, frame: VideoFrameCallbackMetadata) => {
    recording.frames.push({
      at: performance.timeOrigin + now,
      height: frame.height,
      count: frame.presentedFrames,
      number: readNumber(),
    });
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);

  const sample = async () => {
    const open = here.keptConnections.filter((pc) => pc.connectionState !== 'closed');
    const reports = await Promise.all(open.map((pc) => pc.getStats()));
    const received = reports
      .flatMap((report) => [...report.values()] as Record<string, unknown>[])
      .filter((entry) => entry['type'] === 'inbound-rtp');
    const numbersOf = (kind: string) => {
      const entry = received.find((each) => each['kind'] === kind) ?? {};
      return Object.fromEntries(
        Object.entries(entry).filter((field): field is [string, number] => typeof field[1] === 'number'),
      );
    };
    recording.samples.push({ at: Date.now(), video: numbersOf('video'), audio: numbersOf('audio') });
  };
  setInterval(() => void sample(), SAMPLE_MS);
}

/** Ends and gives what was recorded. */
export function recorded(): Recording {
  return (window as unknown as Recorded).recording;
}
