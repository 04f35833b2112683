/** The video layers that a viewer can choose from (WHEP "layers" event). */

export interface Layer {
  /** Restriction identifier; empty where the host sends only one layer. */
  rid: string;
  /** Of a scalable stream, which of its pictures; undefined where it has one. */
  spatialLayerId: number | undefined;
  /** Picture size in pixels, once the server knows it. */
  width: number | undefined;
  height: number | undefined;
  /** Current bitrate in bit/s; 0 for a layer that is not sent now. */
  bitrate: number;
}

/** What names a layer. */
export type LayerChoice = Pick<Layer, 'rid'> & Partial<Pick<Layer, 'spatialLayerId'>>;

/**
 * Reads the event's data: layers by media section. Unknown fields are ignored, as they must be. Of
 * those that differ only in frames a second, the one with the most is listed: that is nothing that
 * people pick.
 */
export function parseLayers(data: unknown): Layer[] {
  if (typeof data !== 'object' || data === null) return [];
  const pictures = new Map<string, Layer>();
  for (const layer of Object.values(data).filter(Array.isArray).flat().flatMap(parseLayer)) {
    const name = JSON.stringify([layer.rid, layer.spatialLayerId]);
    const known = pictures.get(name);
    if (!known || known.bitrate < layer.bitrate) pictures.set(name, layer);
  }
  return [...pictures.values()];
}

function parseLayer(entry: unknown): Layer[] {
  if (typeof entry !== 'object' || entry === null) return [];
  const { rid, spatialLayerId, width, height, bitrate } = entry as Record<string, unknown>;
  if (typeof rid !== 'string') return [];
  return [
    {
      rid,
      spatialLayerId: typeof spatialLayerId === 'number' ? spatialLayerId : undefined,
      width: positive(width),
      height: positive(height),
      bitrate: positive(bitrate) ?? 0,
    },
  ];
}
export function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
