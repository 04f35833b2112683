/** Cameras and microphones. */

const SIZES: Record<string, { width: number; height: number }> = {
  '720': { width: 1280, height: 720 },
  '1080': { width: 1920, height: 1080 },
};

export interface Choice {
  /** Device ids; empty for the browser's default. */
  camera: string;
  microphone: string;
  /** Lines of the picture. */
  size: string;
}

/** Opens camera and microphone. Throws a `DOMException` that says why it can't. */
export async function capture({ camera, microphone, size }: Choice): Promise<MediaStream> {
  // Absent on pages that are not secure, whatever the types say.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) throw new DOMException('the page is not secure', 'InsecureContextError');
  const { width, height } = SIZES[size] ?? { width: 1280, height: 720 };
  return devices.getUserMedia({
    video: {
      width: { ideal: width },
      height: { ideal: height },
      frameRate: { ideal: 30 },
      ...(camera === '' ? {} : { deviceId: { exact: camera } }),
    },
    audio: {
      echoCancellation: true,
      ...(microphone === '' ? {} : { deviceId: { exact: microphone } }),
    },
  });
}

/** The devices of one kind; their names are known only once one was opened. */
export async function list(kind: MediaDeviceKind): Promise<{ value: string; label: string }[]> {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter((device) => device.kind === kind)
    .map((device, index) => ({ value: device.deviceId, label: device.label || `Device ${index + 1}` }));
}
