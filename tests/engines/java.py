"""Iceberg's Java library, in the Java that Spark runs in: it writes what no engine's SQL can say."""


class JavaTable:
    """A table as Iceberg's Java library has it, loaded anew."""

    def __init__(self, session, name):
        self.gateway = session.sparkContext._gateway
        self.jvm = session.sparkContext._jvm
        self.iceberg = self.jvm.org.apache.iceberg
        self.table = self.iceberg.spark.Spark3Util.loadIcebergTable(session._jsparkSession, name)

    def spec(self):
        return self.table.spec()

    # Files.

    def write_data(self, path, rows):
        """One Parquet file of data, of a table without partitions."""
        writer = self.factory().newDataWriter(self.output(path), self.format("parquet"), None)
        for row in rows:
            writer.write(self.record(self.table.schema(), row))
        writer.close()
        return writer.toDataFile()

    def write_equality_deletes(self, path, rows, partition=None, file_format="parquet"):
        """Deletes of every older row with one of these rows' values, which name the columns."""
        schema = self.table.schema().select(list(rows[0]))
        ids = self.gateway.new_array(self.jvm.int, len(rows[0]))
        for at, column in enumerate(rows[0]):
            ids[at] = schema.findField(column).fieldId()
        writer = self.factory(ids, schema).newEqDeleteWriter(self.output(path), self.format(file_format), self.partition(partition))
        for row in rows:
            writer.write(self.record(schema, row))
        writer.close()
        return writer.toDeleteFile()

    def write_position_deletes(self, path, positions, partition=None, file_format="parquet", rows=None):
        """Deletes at these `(path, position)`, with the deleted rows if they are given."""
        factory = self.factory(row_schema=self.table.schema() if rows else None)
        writer = factory.newPosDeleteWriter(self.output(path), self.format(file_format), self.partition(partition))
        delete = self.iceberg.deletes.PositionDelete.create()
        for at, (named, position) in enumerate(positions):
            row = self.record(self.table.schema(), rows[at]) if rows else None
            writer.write(delete.set(named, position, row))
        writer.close()
        return writer.toDeleteFile()

    def referring_to(self, deletes, path):
        """The same deletes, with the data file that they are of in a field of its own."""
        return self.iceberg.FileMetadata.deleteFileBuilder(self.spec()).copy(deletes).withReferencedDataFile(path).build()

    def factory(self, equality_ids=None, equality_schema=None, row_schema=None):
        return self.iceberg.data.GenericAppenderFactory(self.table.schema(), self.spec(), equality_ids, equality_schema, row_schema)

    def output(self, path):
        return self.iceberg.encryption.EncryptedFiles.plainAsEncryptedOutput(self.table.io().newOutputFile(path))

    def format(self, name):
        return self.iceberg.FileFormat.fromString(name)

    def record(self, schema, row):
        record = self.iceberg.data.GenericRecord.create(schema)
        for column, value in row.items():
            record.setField(column, value)
        return record

    def partition(self, values):
        if values is None:
            return None
        record = self.iceberg.data.GenericRecord.create(self.spec().partitionType())
        for field, value in values.items():
            record.setField(field, value)
        return record

    # Commits.

    def append(self, *data):
        commit = self.table.newAppend()
        for file in data:
            commit.appendFile(file)
        commit.commit()

    def add_deletes(self, *deletes):
        commit = self.table.newRowDelta()
        for file in deletes:
            commit.addDeletes(file)
        commit.commit()

    def replace_data(self, data, sequence_number):
        """One file in the place of all that are there, with the data sequence number that is given."""
        commit = self.table.newRewrite().validateFromSnapshot(self.table.currentSnapshot().snapshotId())
        tasks = self.table.newScan().planFiles().iterator()
        for task in tasks:
            commit.deleteFile(task.file())
        tasks.close()
        commit.addFile(data).dataSequenceNumber(sequence_number).commit()
