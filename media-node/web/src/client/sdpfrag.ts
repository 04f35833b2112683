/** ICE parameters in `application/trickle-ice-sdpfrag` bodies (RFC 8840 §9, RFC 9725 §4.3). */

export interface IceParameters {
  ufrag: string;
  pwd: string;
  /** Candidate lines without the `a=`: `candidate:…`. */
  candidates: string[];
}

/**
 * A fragment with the ICE credentials of `localSdp` and these candidates.
 *
 * Everything is bundled, so all candidates belong to the first media section.
 */
export function writeFragment(localSdp: string, candidates: string[], isComplete: boolean): string {
  const { ufrag, pwd } = iceParameters(localSdp);
  const group = firstLine(localSdp, 'a=group:BUNDLE');
  // Only the kind and place of the section matter; the rest has fixed values (RFC 8840 §9).
  const media = firstLine(localSdp, 'm=')?.replace(/ .*/, ' 9 RTP/AVP 0');
  const mid = firstLine(localSdp, 'a=mid:');
  const lines = [
    ...(group === undefined ? [] : [group]),
    ...(media === undefined ? [] : [media]),
    ...(mid === undefined ? [] : [mid]),
    `a=ice-ufrag:${ufrag}`,
    `a=ice-pwd:${pwd}`,
    ...candidates.map((candidate) => `a=${candidate}`),
    ...(isComplete ? ['a=end-of-candidates'] : []),
  ];
  return lines.map((line) => `${line}\r\n`).join('');
}

/** The ICE parameters in a fragment or a whole session description. */
export function iceParameters(sdp: string): IceParameters {
  return {
    ufrag: firstLine(sdp, 'a=ice-ufrag:')?.slice('a=ice-ufrag:'.length) ?? '',
    pwd: firstLine(sdp, 'a=ice-pwd:')?.slice('a=ice-pwd:'.length) ?? '',
    candidates: linesOf(sdp)
      .filter((line) => line.startsWith('a=candidate:'))
      .map((line) => line.slice('a='.length)),
  };
}

/**
 * The answer with the server's new ICE parameters after a restart. A fragment without candidates
 * means that the old ones still hold.
 */
export function withIceParameters(answer: string, ice: IceParameters): string {
  const hasCandidates = ice.candidates.length > 0;
  let mediaSections = 0;
  const lines = linesOf(answer).flatMap((line) => {
    if (line.startsWith('a=ice-ufrag:')) return [`a=ice-ufrag:${ice.ufrag}`];
    if (line.startsWith('a=ice-pwd:')) return [`a=ice-pwd:${ice.pwd}`];
    if (hasCandidates && line.startsWith('a=candidate:')) return [];
    // Right after the mid is a place that every media section has.
    if (hasCandidates && line.startsWith('a=mid:') && (mediaSections += 1) === 1) {
      return [line, ...ice.candidates.map((candidate) => `a=${candidate}`)];
    }
    return [line];
  });
  return lines.map((line) => `${line}\r\n`).join('');
}

function linesOf(sdp: string): string[] {
  return sdp.split(/\r\n|\r|\n/).filter((line) => line !== '');
}

function firstLine(sdp: string, prefix: string): string | undefined {
  return linesOf(sdp).find((line) => line.startsWith(prefix));
}
