import { baseboard, bios, blockDevices, osInfo, system, versions } from 'systeminformation';

/**
 * The inventory of the machine that it runs on, as one JSON object on standard output. A program of its own: the package and
 * what it reads would make the agent larger by a third, for good. With the argument `container` it leaves out what would be
 * said of the agent's image.
 */
const isContainer = process.argv[2] === 'container';
const [machine, firmware, board, devices, os, programs] = await Promise.all([
  orNothing(system()),
  orNothing(bios()),
  orNothing(baseboard()),
  orNothing(blockDevices()),
  isContainer ? null : orNothing(osInfo()),
  // It does not answer where it is asked for less of OpenSSL.
  isContainer ? null : orNothing(versions('kernel,openssl,systemOpenssl,docker')),
]);

process.stdout.write(
  JSON.stringify({
    ...(machine !== null && {
      system: texts(machine, ['manufacturer', 'model', 'version', 'serial', 'sku']),
    }),
    ...(firmware !== null && { bios: texts(firmware, ['vendor', 'version', 'releaseDate', 'revision']) }),
    ...(board !== null && { baseboard: texts(board, ['manufacturer', 'model', 'version', 'serial']) }),
    ...(os !== null && { os: texts(os, ['distro', 'release', 'codename', 'kernel', 'arch']) }),
    ...(programs !== null && { versions: texts(programs, ['kernel', 'systemOpenssl', 'docker']) }),
    ...(devices !== null && {
      blockDevices: devices.slice(0, 256).map((device) => ({
        ...texts(device, ['name', 'type', 'fsType', 'mount', 'physical', 'model', 'serial', 'protocol']),
        ...(Number.isSafeInteger(device.size) && { size: device.size }),
      })),
    }),
  }),
);

/** Null if it fails or gives no answer: the rest is worth having without it. */
function orNothing<Value>(asked: Promise<Value>): Promise<Value | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(late.resolve, 15_000, null);
  return Promise.race([asked.catch(() => null), late.promise]).finally(() => clearTimeout(timer));
}

/** The texts that say something, as one line of bounded length. */
function texts(of: object, names: readonly string[]): Readonly<Record<string, string>> {
  const given = new Map<string, unknown>(Object.entries(of));
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = given.get(name);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
      const text = typeof value === 'string' ? value.replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ').trim() : '';
      return text === '' || text === '-' ? [] : [[name, text.slice(0, 128)]];
    }),
  );
}
