-- What are the stored bytes of these pictures?
SELECT image_id, image, width, height, format
FROM images
WHERE image_id IN (SELECT unnest($ids))
ORDER BY image_id
