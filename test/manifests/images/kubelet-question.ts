import { connect, constants } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { buffer } from 'node:stream/consumers';

/**
 * What a kubelet asks a runtime before it starts a container: ImageStatus of the CRI (v1, api.proto of Kubernetes), by gRPC on
 * the runtime's socket.
 * @returns names of the image; null where the node has none of that name, so that it would be fetched
 */
export async function askForImage(socket: string, image: string): Promise<readonly string[] | null> {
  const session = connect('http://localhost', { createConnection: () => connectSocket(socket) });
  try {
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: '/runtime.v1.ImageService/ImageStatus',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let status: unknown;
    stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'];
    });
    // ImageStatusRequest.image.image
    const request = field(1, field(1, Buffer.from(image)));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(request.length, 1);
    stream.end(Buffer.concat([head, request]));
    const answer = await buffer(stream);
    if (status !== '0') throw new Error(`the runtime answers ImageStatus with the status ${String(status)}`);
    const found = fieldsOf(answer.subarray(5)).get(1)?.[0];
    // Image.repo_tags and Image.repo_digests
    if (found === undefined) return null;
    const members = fieldsOf(found);
    return [2, 3].flatMap((number) => members.get(number) ?? []).map((name) => name.toString('utf8'));
  } finally {
    session.close();
  }
}

function field(number: number, bytes: Buffer): Buffer {
  if (bytes.length > 127) throw new Error('longer than one byte can say');
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
}

/** Members that have a length, by their number. */
function fieldsOf(message: Buffer): ReadonlyMap<number, readonly Buffer[]> {
  const fields = new Map<number, Buffer[]>();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message.readUInt8(at++);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const length = varint();
    if ((key & 7) === 0) continue;
    if ((key & 7) !== 2) throw new Error(`a member of the kind ${key & 7}`);
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), message.subarray(at, at + length)]);
    at += length;
  }
  return fields;
}
