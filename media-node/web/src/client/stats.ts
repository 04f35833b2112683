/** What getStats() says, as the few figures that people ask for. */

/** One sent layer. */
export interface SentLayer {
  /** Empty without simulcast. */
  rid: string;
  width: number;
  height: number;
  framesPerSecond: number;
  /** Since the previous reading, bit/s. */
  bitrate: number;
  /** Share of packets lost on the way to the server, 0 to 1. */
  loss: number;
  /** To the server and back, in milliseconds; undefined until it is known. */
  roundTripMs: number | undefined;
  /** Off, because nobody watches it; its size is the last that it had. */
  isUnwanted: boolean;
}

export interface PublishStats {
  /** Layers that are sent or could be, smallest first. */
  layers: SentLayer[];
  codec: string | undefined;
  audioBitrate: number;
  /** What the network is thought to carry, bit/s. */
  availableBitrate: number | undefined;
  /** Why the picture is smaller or coarser than wanted, if it is. */
  limitedBy: 'network' | 'processor' | undefined;
}

export interface WatchStats {
  codec: string | undefined;
  width: number;
  height: number;
  framesPerSecond: number;
  /** Audio and video since the previous reading, bit/s. */
  bitrate: number;
  /** Share of packets lost since the previous reading, 0 to 1. */
  loss: number;
  roundTripMs: number | undefined;
  /** Time that received media waits before it is shown, in milliseconds. */
  bufferMs: number | undefined;
  /** How often and how long the picture stood still since the start. */
  freezes: number;
  frozenSeconds: number;
}

// Fields differ between browsers and kinds of report, so each is read as what it may be.
type Report = Record<string, unknown> & { id: string; type: string; timestamp: number };
type Reports = Pick<ReadonlyMap<string, unknown>, 'values' | 'get'>;

export function publishStats(now: Reports, before?: Reports): PublishStats {
  const sent = reports(now, 'outbound-rtp');
  const video = sent.filter((report) => report['kind'] === 'video' && number(report['frameHeight']) > 0);
  const limits = video.filter((report) => report['active'] !== false).map((report) => report['qualityLimitationReason']);
  return {
    layers: video
      .map((report) => {
        const remote = now.get(String(report['remoteId'])) as Report | undefined;
        return {
          rid: typeof report['rid'] === 'string' ? report['rid'] : '',
          width: number(report['frameWidth']),
          height: number(report['frameHeight']),
          framesPerSecond: number(report['framesPerSecond']),
          bitrate: rate(report, before, 'bytesSent') * 8,
          loss: number(remote?.['fractionLost']),
          roundTripMs: milliseconds(remote?.['roundTripTime']),
          isUnwanted: report['active'] === false,
        };
      })
      .sort((a, b) => a.height - b.height),
    codec: codecName(now, video[0]),
    audioBitrate: sum(sent.filter((each) => each['kind'] === 'audio'), (each) => rate(each, before, 'bytesSent') * 8),
    availableBitrate: optional(activePair(now)?.['availableOutgoingBitrate']),
    limitedBy: limits.includes('cpu') ? 'processor' : limits.includes('bandwidth') ? 'network' : undefined,
  };
}

export function watchStats(now: Reports, before?: Reports): WatchStats {
  const received = reports(now, 'inbound-rtp');
  const video = received.find((report) => report['kind'] === 'video');
  const packets = sum(received, (each) => delta(each, before, 'packetsReceived'));
  const lost = Math.max(0, sum(received, (each) => delta(each, before, 'packetsLost')));
  const emitted = video ? delta(video, before, 'jitterBufferEmittedCount') : 0;
  return {
    codec: codecName(now, video),
    width: number(video?.['frameWidth']),
    height: number(video?.['frameHeight']),
    framesPerSecond: number(video?.['framesPerSecond']),
    bitrate: sum(received, (each) => rate(each, before, 'bytesReceived') * 8),
    loss: packets + lost > 0 ? lost / (packets + lost) : 0,
    roundTripMs: milliseconds(activePair(now)?.['currentRoundTripTime']),
    bufferMs: video && emitted > 0 ? (delta(video, before, 'jitterBufferDelay') / emitted) * 1_000 : undefined,
    freezes: number(video?.['freezeCount']),
    frozenSeconds: number(video?.['totalFreezesDuration']),
  };
}

function reports(all: Reports, type: string): Report[] {
  return ([...all.values()] as Report[]).filter((report) => report.type === type);
}

function activePair(all: Reports): Report | undefined {
  const [transport] = reports(all, 'transport');
  return all.get(String(transport?.['selectedCandidatePairId'])) as Report | undefined;
}

function codecName(all: Reports, stream: Report | undefined): string | undefined {
  const codec = all.get(String(stream?.['codecId'])) as Report | undefined;
  return typeof codec?.['mimeType'] === 'string' ? codec['mimeType'].split('/')[1] : undefined;
}

function delta(report: Report, before: Reports | undefined, field: string): number {
  const previous = before?.get(report.id) as Report | undefined;
  return number(report[field]) - number(previous?.[field]);
}

/** Change a second since the previous reading; 0 on the first one. */
function rate(report: Report, before: Reports | undefined, field: string): number {
  const previous = before?.get(report.id) as Report | undefined;
  if (!previous || report.timestamp <= previous.timestamp) return 0;
  return delta(report, before, field) / ((report.timestamp - previous.timestamp) / 1_000);
}

function sum<T>(items: T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

function number(value: unknown): number {
  return optional(value) ?? 0;
}

function optional(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function milliseconds(seconds: unknown): number | undefined {
  return typeof seconds === 'number' ? seconds * 1_000 : undefined;
}
