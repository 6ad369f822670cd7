//! The lines that a user types to reach the catalog from an engine.
//!
//! What must hold: three lines an engine, each of which works as it stands. Versions are those that the tests run.

/// The Iceberg runtime for Spark 3.5.
const SPARK_RUNTIME: &str = "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.11.0";

/// Without it Spark has no views and no procedures.
const SPARK_EXTENSIONS: &str = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions";

/// For each engine: its name, what must be there first, and the lines.
pub fn lines(uri: &str) -> [(&'static str, &'static str, [String; 3]); 4] {
    [
        (
            "PyIceberg",
            "pip install 'pyiceberg[pyarrow]'",
            [
                "from pyiceberg.catalog import load_catalog".into(),
                format!("catalog = load_catalog(\"demo\", type=\"rest\", uri=\"{uri}\")"),
                "print(catalog.load_table(\"harbour.ships\").scan().to_arrow())".into(),
            ],
        ),
        (
            "DuckDB",
            "1.5 or newer",
            [
                "INSTALL avro; INSTALL httpfs; INSTALL iceberg; LOAD avro; LOAD httpfs; LOAD iceberg;".into(),
                format!("ATTACH '' AS demo (TYPE ICEBERG, ENDPOINT '{uri}', AUTHORIZATION_TYPE 'none');"),
                "SELECT * FROM demo.harbour.ships;".into(),
            ],
        ),
        (
            "Spark",
            "3.5, in a shell",
            [
                format!(
                    "C=spark.sql.catalog.demo; spark-sql --packages {SPARK_RUNTIME} --conf $C.type=rest --conf $C.uri={uri} \\"
                ),
                format!(
                    "  --conf $C=org.apache.iceberg.spark.SparkCatalog --conf spark.sql.extensions={SPARK_EXTENSIONS} \\"
                ),
                "  -e \"SELECT * FROM demo.harbour.ships\"".into(),
            ],
        ),
        (
            "Trino",
            "476 or newer, in its folder",
            [
                format!(
                    "printf 'connector.name=iceberg\\niceberg.catalog.type=rest\\niceberg.rest-catalog.uri={uri}\\n\
                     fs.hadoop.enabled=true\\n' > etc/catalog/demo.properties"
                ),
                "bin/launcher restart".into(),
                "trino --catalog demo --execute 'SELECT * FROM harbour.ships'".into(),
            ],
        ),
    ]
}
