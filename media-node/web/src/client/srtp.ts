/**
 * What the node must know of our SRTP before it says hello.
 *
 * The node begins the DTLS handshake with viewers, for that saves round trips. It would have AES-GCM, which costs it a
 * fraction of AES-CM with HMAC-SHA1; but a browser that is offered both takes the latter, so the node has to offer one
 * alone, and may do that only to those that are sure to know it. Every browser that runs this library is: it needs
 * `AbortSignal.any`, which is years younger than AES-GCM in WebRTC.
 */
const STATEMENT = 'a=showrunner-srtp-profiles:AEAD_AES_128_GCM';

/** The offer, with the statement among the attributes of the session. */
export function withSrtpProfiles(offer: string): string {
  return offer.replace(/^m=/m, `${STATEMENT}\r\nm=`);
}
