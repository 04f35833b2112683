/** The video layers that a viewer can choose from (WHEP "layers" event). */

export interface Layer {
  /** Restriction identifier; empty where the host sends only one layer. */
  rid: string;
  /** Picture size in pixels, once the server knows it. */
  width: number | undefined;
  height: number | undefined;
  /** Current bitrate in bit/s; 0 for a layer that is not sent now. */
  bitrate: number;
}

/** Reads the event's data: layers by media section. Unknown fields are ignored, as they must be. */
export function parseLayers(data: unknown): Layer[] {
  if (typeof data !== 'object' || data === null) return [];
  return Object.values(data)
    .filter(Array.isArray)
    .flat()
    .flatMap((entry: unknown) => {
      if (typeof entry !== 'object' || entry === null || !('rid' in entry)) return [];
      const { rid, width, height, bitrate } = entry as Record<string, unknown>;
      if (typeof rid !== 'string') return [];
      return [{ rid, width: positive(width), height: positive(height), bitrate: positive(bitrate) ?? 0 }];
    });
}

export function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
