/* ZIP files, written and read without packing: PNG and JPEG files are packed already. Names are UTF-8. */

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32, as ZIP and PNG files hold it. */
export function checksum(bytes) {
  let value = -1;
  for (let at = 0; at < bytes.length; at++) value = TABLE[(value ^ bytes[at]) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
}

const LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50;
const UTF8 = 0x0800;
const MOST_BYTES = 0xffffffff, MOST_FILES = 0xffff;

function record(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let place = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(place, value, true);
    else view.setUint32(place, value, true);
    place += size;
  }
  return new Uint8Array(view.buffer);
}

/** A ZIP file of [{ name, blob }]. */
export async function zipOf(files, now = new Date()) {
  if (files.length > MOST_FILES) throw new RangeError(`${files.length} files are more than a ZIP file can hold; select fewer`);
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const parts = [], directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const letters = new TextEncoder().encode(name);
    const sum = checksum(new Uint8Array(await blob.arrayBuffer()));
    const shared = [[2, 20], [2, UTF8], [2, 0], [2, time], [2, date], [4, sum], [4, blob.size], [4, blob.size], [2, letters.length], [2, 0]];
    const head = record([[4, LOCAL], ...shared]);
    parts.push(head, letters, blob);
    directory.push(record([[4, CENTRAL], [2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), letters);
    offset += head.length + letters.length + blob.size;
    if (offset > MOST_BYTES) throw new RangeError("the files are larger than the 4 GB that a ZIP file can hold; select fewer");
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record([[4, END], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** The files of a ZIP file that was not packed: [{ name, blob }]. */
export async function unzip(blob, type) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const view = new DataView(bytes.buffer);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) throw new RangeError("not a complete ZIP file");
  const files = [];
  let place = view.getUint32(end + 16, true);
  for (let index = 0; index < view.getUint16(end + 10, true); index++) {
    const size = view.getUint32(place + 20, true), nameLength = view.getUint16(place + 28, true);
    const local = view.getUint32(place + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(place + 46, place + 46 + nameLength));
    const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    files.push({ name, blob: new Blob([bytes.subarray(begin, begin + size)], { type }) });
    place += 46 + nameLength + view.getUint16(place + 30, true) + view.getUint16(place + 32, true);
  }
  return files;
}

/** A CSV file of rows of values, the first the header; read by spreadsheets and by Python's csv. */
export function csvOf(rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return new Blob([rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" });
}
