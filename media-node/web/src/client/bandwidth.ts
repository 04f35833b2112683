/** The bandwidth that a description states (RFC 8866 §5.8). */

/** The answer with this bandwidth, in kbit/s, for its video. */
export function withBandwidth(answer: string, kbps: number): string {
  return answer
    .split(/^(?=m=)/m)
    .map((section) =>
      section.startsWith('m=video')
        ? section.replace(/^b=AS:.*\r\n/gm, '').replace(/^c=.*\r\n/m, (line) => `${line}b=AS:${kbps}\r\n`)
        : section,
    )
    .join('');
}
