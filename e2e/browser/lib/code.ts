/**
 * A picture that proves itself live: the time of drawing as black and white cells, which survive
 * scaling and coding and are read back from the viewer's picture.
 *
 * Both functions run inside pages, so each is complete in itself.
 */

/** Replaces camera and microphone by a canvas that shows the time and by a quiet tone. */
export function installCodeCamera({ width, height }: { width: number; height: number }): void {
  const COLUMNS = 8;
  const ROWS = 6;

  const draw = (canvas: HTMLCanvasElement, context: CanvasRenderingContext2D) => {
    const cellWidth = canvas.width / COLUMNS;
    const cellHeight = canvas.height / ROWS;
    const stamp = Date.now() % 2 ** 32;
    const bytes = [24, 16, 8, 0].map((shift) => (stamp >>> shift) & 255);
    const checksum = bytes.reduce((sum, byte) => (sum * 31 + byte) & 255, 7);
    // The first row moves like a real picture does, for the encoder's sake.
    for (let x = 0; x < COLUMNS * 4; x += 1) {
      context.fillStyle = `hsl(${(x * 11 + stamp / 10) % 360} 80% 50%)`;
      context.fillRect((x * cellWidth) / 4, 0, cellWidth / 4, cellHeight);
    }
    [...bytes, checksum].forEach((byte, row) => {
      for (let column = 0; column < COLUMNS; column += 1) {
        context.fillStyle = (byte >>> (7 - column)) & 1 ? '#fff' : '#000';
        context.fillRect(column * cellWidth, (row + 1) * cellHeight, cellWidth, cellHeight);
      }
    });
  };

  navigator.mediaDevices.getUserMedia = () => {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext('2d', { alpha: false });
    if (!context) throw new Error('no canvas');
    draw(canvas, context);
    const stream = canvas.captureStream(0);
    const [track] = stream.getVideoTracks() as CanvasCaptureMediaStreamTrack[];
    setInterval(() => {
      draw(canvas, context);
      track?.requestFrame();
    }, 1_000 / 30);
    const audio = new AudioContext();
    const tone = new OscillatorNode(audio, { frequency: 440 });
    const sink = audio.createMediaStreamDestination();
    tone.connect(new GainNode(audio, { gain: 0.05 })).connect(sink);
    tone.start();
    for (const each of sink.stream.getAudioTracks()) stream.addTrack(each);
    return Promise.resolve(stream);
  };
}

/** One frame as the viewer saw it. */
export interface SeenFrame {
  /** When it was drawn at the host, in milliseconds of the wall clock modulo 2³². */
  drawn: number;
  /** When it was shown at the viewer, same clock. */
  shown: number;
  height: number;
}

/** Reads the code from the next `count` frames of a video; frames whose code is torn are left out. */
export function readFrames({ selector, count }: { selector: string; count: number }): Promise<SeenFrame[]> {
  const COLUMNS = 8;
  const ROWS = 6;
  const CELL = 8;
  const video = document.querySelector<HTMLVideoElement>(selector);
  const canvas = new OffscreenCanvas(COLUMNS * CELL, ROWS * CELL);
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  if (!video || !context) throw new Error(`no video at ${selector}`);
  const frames: SeenFrame[] = [];
  return new Promise((resolve) => {
    const onFrame = () => {
      const shown = Date.now() % 2 ** 32;
      context.drawImage(video, 0, 0, canvas.width, canvas.height);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      const bytes = Array.from({ length: ROWS - 1 }, (_, row) => {
        let byte = 0;
        for (let column = 0; column < COLUMNS; column += 1) {
          const x = column * CELL + CELL / 2;
          const y = (row + 1) * CELL + CELL / 2;
          byte = (byte << 1) | ((data[(y * canvas.width + x) * 4 + 1] ?? 0) > 127 ? 1 : 0);
        }
        return byte;
      });
      const checksum = bytes.pop();
      if (bytes.reduce((sum, byte) => (sum * 31 + byte) & 255, 7) === checksum) {
        const drawn = bytes.reduce((value, byte) => value * 256 + byte, 0);
        frames.push({ drawn, shown, height: video.videoHeight });
      }
      if (frames.length >= count) resolve(frames);
      else video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  });
}

/** Keeps every peer connection of the page reachable for `connectionStats`. */
export function keepConnections(): void {
  const kept: RTCPeerConnection[] = [];
  const Original = RTCPeerConnection;
  window.RTCPeerConnection = class extends Original {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      kept.push(this);
    }
  };
  Object.assign(window, { keptConnections: kept });
}

/** The statistics of one type, and of one media kind where they are of any, on the page's open connections. */
export async function connectionStats({ type, kind }: { type: string; kind: string }): Promise<Record<string, unknown>[]> {
  const { keptConnections } = window as unknown as { keptConnections: RTCPeerConnection[] };
  const open = keptConnections.filter((pc) => pc.connectionState !== 'closed');
  const reports = await Promise.all(open.map((pc) => pc.getStats()));
  return reports
    .flatMap((report) => [...report.values()] as Record<string, unknown>[])
    .filter((entry) => entry['type'] === type && (entry['kind'] ?? kind) === kind);
}
