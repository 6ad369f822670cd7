import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.UUID;
import java.util.stream.IntStream;
import org.apache.iceberg.AppendFiles;
import org.apache.iceberg.BaseTable;
import org.apache.iceberg.DataFile;
import org.apache.iceberg.DataFiles;
import org.apache.iceberg.FileFormat;
import org.apache.iceberg.ManifestFile;
import org.apache.iceberg.ManifestFiles;
import org.apache.iceberg.ManifestWriter;
import org.apache.iceberg.Metrics;
import org.apache.iceberg.PartitionSpec;
import org.apache.iceberg.Schema;
import org.apache.iceberg.Table;
import org.apache.iceberg.catalog.TableIdentifier;
import org.apache.iceberg.rest.RESTCatalog;
import org.apache.iceberg.types.Conversions;
import org.apache.iceberg.types.Types;

/**
 * Writes the metadata of one partitioned table of format version 2 with Iceberg's own classes, as an engine would:
 * manifests are deflated as Iceberg deflates by default, and every data file has sizes, counts and bounds of all
 * columns. The data files themselves are only named. The table has two snapshots: the first has all manifests, the
 * second adds one small manifest; the metadata file of each is printed as one JSON object.
 *
 * <p>Run as source (`java -cp ... GenerateTable.java URI LOCATION MANIFESTS FILES_PER_MANIFEST FILES_APPENDED`). Everything
 * but Iceberg's random file names is the same in every run.
 */
public final class GenerateTable {
  private static final int COLUMNS = 10;
  private static final long ROWS_PER_FILE = 10_000;
  private static final int BOUND_BYTES = 16; // what Iceberg truncates strings to by default

  private final Table table;
  private final int filesPerManifest;

  private GenerateTable(Table table, int filesPerManifest) {
    this.table = table;
    this.filesPerManifest = filesPerManifest;
  }

  public static void main(String[] arguments) throws IOException {
    String uri = arguments[0];
    String location = arguments[1];
    int manifests = Integer.parseInt(arguments[2]);
    int filesPerManifest = Integer.parseInt(arguments[3]);
    int filesAppended = Integer.parseInt(arguments[4]);

    try (RESTCatalog catalog = new RESTCatalog()) {
      catalog.initialize("generated", Map.of("uri", uri));
      generate(create(catalog, location), manifests, filesPerManifest, filesAppended);
    }
  }

  private static void generate(Table table, int manifests, int filesPerManifest, int filesAppended) {
    AppendFiles first = table.newFastAppend();
    GenerateTable many = new GenerateTable(table, filesPerManifest);
    IntStream.range(0, manifests).parallel().mapToObj(many::manifest).toList().forEach(first::appendManifest);
    first.commit();
    String full = metadataLocation(table);

    AppendFiles second = table.newFastAppend();
    second.appendManifest(new GenerateTable(table, filesAppended).manifest(manifests));
    second.commit();

    System.out.printf("{\"full\": \"%s\", \"appended\": \"%s\"}%n", full, metadataLocation(table));
  }

  private static Table create(RESTCatalog catalog, String location) {
    TableIdentifier name = TableIdentifier.of("generated", location.substring(location.lastIndexOf('/') + 1));
    if (!catalog.namespaceExists(name.namespace())) {
      catalog.createNamespace(name.namespace());
    }
    List<Types.NestedField> fields = IntStream.rangeClosed(1, COLUMNS)
        .mapToObj(id -> Types.NestedField.optional(id, "column_" + id, isText(id) ? Types.StringType.get() : Types.LongType.get()))
        .toList();
    Schema schema = new Schema(fields);
    return catalog.buildTable(name, schema)
        .withPartitionSpec(PartitionSpec.builderFor(schema).identity("column_1").build())
        .withLocation(location)
        .withProperty("format-version", "2")
        .create();
  }

  private static String metadataLocation(Table table) {
    return ((BaseTable) table).operations().current().metadataFileLocation();
  }

  private static boolean isText(int column) {
    return column % 2 == 0;
  }

  /** Writes one manifest, whose files are all of one partition. */
  private ManifestFile manifest(int number) {
    // Its own seed, so that manifests written at once are the same in every run.
    Random random = new Random(number);
    UUID id = new UUID(random.nextLong(), random.nextLong());
    String path = table.location() + "/metadata/" + id + "-m" + number + ".avro";
    ManifestWriter<DataFile> writer = ManifestFiles.write(2, table.spec(), table.io().newOutputFile(path), null);
    try (writer) {
      for (int file = 0; file < filesPerManifest; file++) {
        writer.add(dataFile(number, file, random));
      }
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return writer.toManifestFile();
  }

  private DataFile dataFile(int partition, int number, Random random) {
    String folder = "column_1=" + partition;
    UUID id = new UUID(random.nextLong(), random.nextLong());
    String name = String.format("%05d-%d-%s-0-00001.parquet", number, partition, id);
    return DataFiles.builder(table.spec())
        .withPath(table.location() + "/data/" + folder + "/" + name)
        .withFormat(FileFormat.PARQUET)
        .withFileSizeInBytes(1_000_000L + random.nextInt(100_000_000))
        .withPartitionPath(folder)
        .withMetrics(metrics(random))
        .withSplitOffsets(List.of(4L, 134_217_728L))
        .build();
  }

  private static Metrics metrics(Random random) {
    Map<Integer, Long> sizes = new HashMap<>();
    Map<Integer, Long> values = new HashMap<>();
    Map<Integer, Long> nulls = new HashMap<>();
    Map<Integer, ByteBuffer> lower = new HashMap<>();
    Map<Integer, ByteBuffer> upper = new HashMap<>();
    for (int column = 1; column <= COLUMNS; column++) {
      sizes.put(column, (long) random.nextInt(1 << 20));
      values.put(column, ROWS_PER_FILE);
      nulls.put(column, (long) random.nextInt(10));
      lower.put(column, bound(column, random));
      upper.put(column, bound(column, random));
    }
    return new Metrics(ROWS_PER_FILE, sizes, values, nulls, null, lower, upper);
  }

  private static ByteBuffer bound(int column, Random random) {
    if (isText(column)) {
      String text = random.ints(BOUND_BYTES, 'a', 'z' + 1)
          .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
          .toString();
      return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
    }
    return Conversions.toByteBuffer(Types.LongType.get(), random.nextLong() >>> 8);
  }
}
